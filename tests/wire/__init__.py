"""Tests of the protocol between client and agent."""
