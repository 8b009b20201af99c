"""Tests of the engine: queues, calls, outcomes."""
