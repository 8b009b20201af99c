"""Functions in a package: they find their neighbours as they do at home."""

import byoc

from .prices import PRICES, UnknownThingError

app = byoc.App("shop")


@app.function()
def price(thing: str) -> int:
    if thing not in PRICES:
        raise UnknownThingError(thing)
    return PRICES[thing]


@app.function()
def where() -> tuple[str, str]:
    return __name__, __file__
