"""Rented clouds: adapters, emulators, and both together."""
