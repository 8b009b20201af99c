"""Instances on this host; see :mod:`byoc.providers.local.provider`."""
