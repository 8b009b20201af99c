"""An emulated OCI tenancy: its API as the official SDK describes it, on loopback."""
