"""The deterministic simulation: production decisions, a made-up world, every fault at once."""
