"""Three emulated cloud accounts on loopback, whose instances are real machines."""
