"""The emulator's core: scenarios, the world, machines, and ``byoc emulate``."""
