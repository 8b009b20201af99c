"""Declaring and calling: what ``import byoc`` gives."""
