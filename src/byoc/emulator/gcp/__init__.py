"""An emulated Google Cloud project: Compute Engine by Google's own description, on loopback."""
