"""What the world asks of whoever keeps its machines."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..ports import Machine
from .gpus import SOUND, Trouble

Key = tuple[str, str]
"""(cloud, id): names a machine."""


class Plan(NamedTuple):
    """A machine to be booted. ``dead``: it runs and never answers. ``console``: what it prints at
    the end. ``egress``: it has a way out by HTTP. ``gpu_memory``: MiB of each GPU. ``gpu_fault``:
    what is wrong with them."""

    machine: Machine
    dead: bool = False
    console: str = ""
    egress: bool = False
    gpu_memory: int = 0
    gpu_fault: Trouble = SOUND

    @property
    def key(self) -> Key:
        """Its name."""
        return self.machine.cloud, self.machine.id


class Voice(Protocol):
    """Who is told of a machine, from the keeper's threads."""

    def moment(self, name: str) -> None:
        """``connected``, ``first-input``, ``first-result``: it happened, perhaps not first."""

    def off(self, reason: str) -> None:
        """It is off without having been told to: ``shutdown`` or ``crash``."""


class Keeper(Protocol):
    """Keeps machines. An unknown key is ignored everywhere: the machine may just have ended.

    ``problems``: what went wrong that no scenario asked for.
    """

    problems: list[str]

    def boot(self, plan: Plan, voice: Voice) -> None:
        """Start a machine; returns when it runs, before it answers."""

    def end(self, key: Key, gently: bool) -> None:
        """End it, at once or as by its power button; its voice is not told."""

    def kill(self, key: Key) -> None:
        """Pull the plug: silence for its peers. Its voice is told ``crash``."""

    def freeze(self, key: Key, on: bool) -> None:
        """Stop all its processes where they are, or let them go on."""

    def cut(self, key: Key, on: bool) -> None:
        """Cut its network, or mend it; it goes on working meanwhile."""

    def console(self, key: Key) -> str:
        """What it has printed, also after its end."""

    def close(self) -> None:
        """End all; nothing is left of any."""
