"""Programs that a benchmark starts beside itself: byoc and its peers, each in its own process."""
