"""Whole runs: a user's program, an instance of the local provider, and all that lies between."""
