"""Authenticated SSH to instances, as streams of bytes."""
