"""Emulated machines: real ones in namespaces of their own, and ones that only greet."""
