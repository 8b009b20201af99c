"""The OCI Compute provider."""
