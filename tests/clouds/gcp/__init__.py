"""Google Compute Engine: the adapter against the emulated project, through Google's own SDK."""
