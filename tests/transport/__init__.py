"""Tests of byoc.transport, against a real sshd wherever one can be had."""
