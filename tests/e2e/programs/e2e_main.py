"""A script run as ``python e2e_main.py``: its own types are arguments, results and exceptions."""

import sys
from dataclasses import dataclass

import byoc

app = byoc.App("main")


@dataclass
class Point:
    x: int
    y: int


class OffTheMapError(Exception):
    def __init__(self, point: Point) -> None:
        super().__init__(f"{point} is off the map")
        self.point = point


@app.function()
def mirrored(point: Point) -> Point:
    assert isinstance(point, Point)
    if point.x > 100:
        raise OffTheMapError(point)
    return Point(point.y, point.x)


def main() -> None:
    with app.run():
        found = mirrored.remote(Point(1, 2))
        assert type(found) is Point, type(found)
        print("value", found)
        print("map", [p.x for p in mirrored.map([Point(0, n) for n in range(3)])])
        try:
            mirrored.remote(Point(101, 0))
        except OffTheMapError as error:
            print("caught", type(error.point) is Point, error.point)


if __name__ == "__main__":
    main()
    sys.exit(7)
