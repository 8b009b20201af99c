"""The Compute Engine provider."""
