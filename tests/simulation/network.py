"""The way between a client's computer and its machines: cuts, also of one direction only."""

from __future__ import annotations

from .faults import Knobs
from .machines import Machine
from .world import World

EVERYTHING = "*"


class Network:
    """Which links are cut now."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world, self._knobs = world, knobs
        self._cut: dict[str, str] = {}
        self._machines: list[Machine] = []
        world.again_and_again(knobs.cut, self._break)

    def add(self, machine: Machine) -> None:
        """A machine that may be cut off by itself."""
        self._machines.append(machine)

    def heal(self) -> None:
        """No cut is left."""
        self._cut.clear()

    def up(self, machine: Machine, *, out: bool) -> bool:
        """Whether what is sent arrives: ``out`` to the machine, else from it."""
        if not self._cut:
            return True
        for name in (EVERYTHING, machine.id):
            cut = self._cut.get(name)
            if cut is not None and (cut == "both" or (cut == "in" and not out)):
                return False
        return True

    def _break(self) -> None:
        world = self._world
        self._machines = [one for one in self._machines if one.alive]
        name = EVERYTHING
        if self._machines and world.rng.random() < 0.5:
            name = world.rng.choice(self._machines).id
        kind = "in" if world.chance(self._knobs.one_way) else "both"
        world.mark(f"fault:cut-{kind}")
        world.log("CUT", name, kind)
        self._cut[name] = kind
        world.after(self._knobs.cut_length, self._mend, name)

    def _mend(self, name: str) -> None:
        self._cut.pop(name, None)
