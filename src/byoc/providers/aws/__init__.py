"""The EC2 provider."""
