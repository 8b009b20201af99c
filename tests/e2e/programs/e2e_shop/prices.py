"""A module beside the one with the functions."""

PRICES = {"tea": 3, "cake": 5}


class UnknownThingError(LookupError):
    """Raised remotely, caught by its name at the caller."""

    def __init__(self, thing: str) -> None:
        super().__init__(f"no {thing} today")
        self.thing = thing
