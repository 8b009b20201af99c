"""Lies where only a container finds it."""

WORD = "imported there"
