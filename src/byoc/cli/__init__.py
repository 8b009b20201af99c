"""The ``byoc`` command. Nothing is imported here: each command loads what it needs."""
