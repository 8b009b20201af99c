"""One program on several instances at once, each a rank of the same gang: ``--nodes``."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .. import limits
from ..errors import InstanceError
from ..images import mounts
from ..images.native import EnvPlan
from ..resources import Resources
from ..tasks import attempt, side_by_side
from . import program, ranks, threads
from .live import LiveInstance
from .muster import Mustering
from .slots import Slot

_Word = tuple[int, Any]
"""A rank, and how its program ended: the agent's word, or the instance's loss."""


class Node(NamedTuple):
    """An instance of the squad, and its environment."""

    host: LiveInstance
    env: dict[str, Any]


class Order(NamedTuple):
    """What runs everywhere. ``words``: of one node; ``environ``: the user's variables, which win;
    ``stdin``: rank 0 reads it."""

    words: Callable[[Node], Sequence[str]]
    environ: Mapping[str, str]
    cwd: str
    stdin: Any


class Squads(Mustering):
    """The part of a session that runs one program on several instances."""

    _squad: _Squad | None = None

    def _assemble(self, entries: Sequence[mounts.FileEntry], plan: EnvPlan) -> list[Node]:
        """The nodes, each with files and environment."""
        hosts = self._muster(self.merged(Resources()), self.options.nodes or 1)
        works = [partial(self._ready, host, entries, plan) for host in hosts]
        envs = side_by_side(works, len(works))
        return [Node(host, env) for host, env in zip(hosts, envs, strict=True)]

    def _everywhere(self, nodes: Sequence[Node], order: Order) -> int:
        """Run it on all; the first exit code that is not 0, once the others were ended for it.

        Raises what a single program's end raises, and InstanceError when an instance is lost.
        """
        timeout = self.options.timeout or 0.0
        asked = self.merged(Resources()).gpus
        squad = self._squad = _Squad(
            [
                Slot(
                    node.host,
                    node.host.new_stream(),
                    self._ids.new("ta"),
                    node.host.take_gpus(asked) or (),
                )
                for node in nodes
            ]
        )
        ips = tuple(ranks.address(node.host.held.instance) for node in nodes)
        roster = ranks.Roster(
            self._ids.new("gang"), ips, self._free_port(nodes[0]), len(squad.slots[0].gpus)
        )
        try:
            self._begin(squad, nodes, order, roster)
            code = self._outcome(squad, order.words(nodes[0])[0], timeout)
        finally:
            squad.stop()
            self._squad = None
        for node in nodes:
            node.host.flush_logs(limits.LEASE)
        return code

    def _begin(
        self, squad: _Squad, nodes: Sequence[Node], order: Order, roster: ranks.Roster
    ) -> None:
        """Start the program on each of the nodes."""
        timeout = self.options.timeout or 0.0
        for rank, (node, slot) in enumerate(zip(nodes, squad.slots, strict=True)):
            self._reporter.ranked(slot.name, rank)
            variables = {**roster.variables(rank), **order.environ}
            ended, words = partial(squad.ended, rank), order.words(node)
            node.host.start_command(slot, words, node.env, variables, order.cwd, timeout, ended)
            squad.left.add(rank)
            if rank or order.stdin is None:
                node.host.end_input(slot)
        if order.stdin is not None:
            feed = partial(program.feed, nodes[0].host, squad.slots[0], order.stdin)
            threads.start("byoc-stdin", feed)

    def _free_port(self, first: Node) -> int:
        """One that nothing listens on there."""
        tried = ranks.ports(self._ids)
        slot = Slot(first.host, first.host.new_stream(), self._ids.new("ta"))
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        probe = [first.env["python"], "-c", ranks.PROBE, *map(str, tried)]
        first.host.start_command(
            slot, probe, first.env, {}, mounts.ROOT, limits.LEASE, lambda _, word: answer.put(word)
        )
        first.host.end_input(slot)
        with contextlib.suppress(queue.Empty):
            return ranks.chosen(tried, threads.take_within(answer, limits.LEASE))
        return tried[0]

    def _outcome(self, squad: _Squad, name: str, timeout: float) -> int:
        while squad.left:
            rank, word = squad.next()
            if isinstance(word, InstanceError):
                self._reporter.notice(f"rank {rank} is lost: the others are ended")
                raise word
            failed = attempt(partial(program.exit_code, word, f"{name} (rank {rank})", timeout))
            if failed == 0:
                continue
            if squad.left:
                self._reporter.notice(f"rank {rank} failed: the others are ended")
            squad.kill()
            self._bury(squad)
            if isinstance(failed, BaseException):
                raise failed
            return failed
        return 0

    def _bury(self, squad: _Squad) -> None:
        """Wait for the last words of those that were ended. A program whose peer's machine was
        taken away fails as well, and mostly earlier than the loss is known: raises the loss."""
        while squad.left:
            rank, word = squad.next()
            if isinstance(word, InstanceError):
                self._reporter.notice(f"rank {rank} is lost")
                raise word

    def _stop_containers(self, graceful: bool) -> None:
        super()._stop_containers(graceful)
        if self._squad is not None:
            self._squad.stop()

    def _member_lost(self, host: LiveInstance, error: InstanceError) -> None:
        super()._member_lost(host, error)
        if self._squad is not None:
            self._squad.lost(host, error)


class _Squad:
    """The programs of all ranks. ``left``: those that were started and have not ended."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        self.left: set[int] = set()
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()

    def ended(self, rank: int, slot: Slot, word: Mapping[str, Any]) -> None:
        """A program has ended; on a thread that reads."""
        self._words.put((rank, word))

    def lost(self, host: LiveInstance, error: InstanceError) -> None:
        """An instance is gone."""
        for rank, slot in enumerate(self.slots):
            if slot.host is host:
                self._words.put((rank, error))

    def next(self) -> _Word:
        """How the next one ended."""
        rank, word = threads.take(self._words)
        self.left.discard(rank)
        return rank, word

    def kill(self) -> None:
        """End those that run: SIGTERM, and SIGKILL after the grace."""
        for rank in self.left:
            with contextlib.suppress(InstanceError):  # lost, and the program with it
                self.slots[rank].host.kill(self.slots[rank], "stopped", limits.END_GRACE)

    def stop(self) -> None:
        """End those that run, and wait for it as long as they may take."""
        self.kill()
        with contextlib.suppress(queue.Empty):  # the agents, or else the leases, end them
            while self.left:
                rank, _ = threads.take_within(self._words, limits.END_GRACE * 2)
                self.left.discard(rank)
