"""Parts die, lines break, machines lie: every call ends in one value or one honest error."""
