"""Runs that are a program and not a function: ``byoc exec`` and plain scripts."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import ConnectionLostError, InstanceError, RemoteError
from ..images import mounts, native
from ..images.recipe import Image
from ..resources import Resources
from . import program, sources, threads
from .base import FIRST_CONTACTS
from .live import LiveInstance
from .slots import Slot
from .squad import Node, Order, Squads

PIECES_AHEAD = 64
"""Fetched pieces, of a MiB at most, that wait for the disk here before the instance has to wait."""
FETCH_WAIT = 600.0
"""Seconds without any piece of an artifact after which fetching is given up."""
LOST_HINTS = (
    "a program is not started again by itself: run the command again, or use --on-demand",
    "functions of an app are run again: see docs/spot.md",
)


class Commands(Squads):
    """One program on one instance, in the image's environment, with a synced folder."""

    _program: tuple[Slot, queue.SimpleQueue[Any]] | None = None
    _fetching: _Pieces | None = None

    def command(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        image: Image | None = None,
        environ: Mapping[str, str] | None = None,
        artifacts: Sequence[str] = (),
        cwd: str = "",
        stdin: Any = None,
    ) -> int:
        """Run ``argv`` in a copy of ``folder``; its exit code (128 + n after signal n).

        ``cwd``: a folder below it. ``artifacts``: patterns of files that come back into ``folder``
        afterwards. ``stdin``: a binary file that the program reads, or None for an empty one.
        """

        def words(node: Node) -> list[str]:
            return [node.env["python"] if argv[0] == "python" else argv[0], *argv[1:]]

        where = f"{mounts.ROOT}/{cwd}".rstrip("/")
        order = Order(words, dict(environ or {}), where, stdin)
        host, code = self._carry_out(folder, image or Image.debian_slim(), order)
        if artifacts:
            self.fetch(host, artifacts, folder)
        self._exit_code = code
        return code

    def script(
        self,
        path: Path,
        args: Sequence[str],
        *,
        image: Image | None = None,
        environ: Mapping[str, str] | None = None,
        stdin: Any = None,
    ) -> int:
        """Run a plain script as ``__main__``, with its folder synced; its exit code."""

        def words(node: Node) -> list[str]:
            return [node.env["python"], "-u", f"{node.host.root}/{path.name}", *args]

        order = Order(words, dict(environ or {}), mounts.ROOT, stdin)
        _, code = self._carry_out(path.parent, image or Image.debian_slim(), order)
        self._exit_code = code
        return code

    def module(self, name: str, folder: Path, args: Sequence[str], *, stdin: Any = None) -> int:
        """Run ``python -m name``, with ``folder`` synced; its exit code."""
        return self.command(["python", "-u", "-m", name, *args], folder, stdin=stdin)

    def _carry_out(self, folder: Path, image: Image, order: Order) -> tuple[LiveInstance, int]:
        """Run a program; its exit code, and where its files are (of several nodes, the first)."""
        entries = mounts.collect(
            mounts.for_folder(folder, notice=self._reporter.notice),
            mounts.for_image(image, self._reporter.notice),
        )
        plan = sources.plan_of(image)
        if (self.options.nodes or 1) > 1:
            nodes = self._assemble(entries, plan)
            return nodes[0].host, self._everywhere(nodes, order)
        node = Node(*self._set_up(entries, plan))
        words = order.words(node)
        return node.host, self._run(*node, words, order.environ, order.cwd, order.stdin)

    def _set_up(
        self, entries: Sequence[mounts.FileEntry], plan: native.EnvPlan
    ) -> tuple[LiveInstance, dict[str, Any]]:
        for tries in range(FIRST_CONTACTS, 0, -1):
            host = self._instance(self.merged(Resources()))
            try:
                env = self._ready(host, entries, plan)
            except InstanceError:
                if not host.taken or tries == 1 or self._closed:
                    raise
            if host.usable or tries == 1:
                break
            self._taken_early(host)  # nothing of the user's has run there yet
        return host, env

    def _taken_early(self, host: LiveInstance) -> None:
        """Its cloud takes an instance back before anything could run there: give it up."""
        self._reporter.notice(
            f"instance {host.held.instance.id} was taken back while it was set up"
        )
        with self.lock:
            self._part_with(host)

    # --- running --------------------------------------------------------------------------

    def _run(
        self,
        host: LiveInstance,
        env: Mapping[str, Any],
        argv: Sequence[str],
        environ: Mapping[str, str],
        cwd: str,
        stdin: Any,
    ) -> int:
        gpus = host.take_gpus(self.merged(Resources()).gpus) or ()
        slot = Slot(host, host.new_stream(), self._ids.new("ta"), gpus)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._program = (slot, ended)
        timeout = self.options.timeout or 0.0
        host.start_command(slot, argv, env, environ, cwd, timeout, lambda _, word: ended.put(word))
        if stdin is not None:
            threads.start("byoc-stdin", lambda: program.feed(host, slot, stdin))
        else:
            host.end_input(slot)
        word = threads.take(ended)
        self._program = None
        if isinstance(word, ConnectionLostError):
            raise ConnectionLostError(word.message, hints=LOST_HINTS) from word
        if isinstance(word, InstanceError):
            raise word
        host.flush_logs(limits.LEASE)
        return program.exit_code(word, argv[0], timeout)

    def _stop_containers(self, graceful: bool) -> None:
        """End the program if it still runs: SIGTERM, and SIGKILL after the grace."""
        super()._stop_containers(graceful)
        if self._program is None:
            return
        slot, ended = self._program
        try:
            slot.host.kill(slot, "stopped", limits.END_GRACE)
            ended.get(timeout=limits.END_GRACE * 2)
        except (InstanceError, queue.Empty):
            pass  # the agent, or else the lease, ends it

    def _host_lost(self, host: LiveInstance, error: InstanceError) -> None:
        if self._program is not None:
            self._program[1].put(error)
        if self._fetching is not None:
            self._fetching.put(error)

    # --- artifacts ------------------------------------------------------------------------

    def fetch(self, host: LiveInstance, patterns: Sequence[str], into: Path) -> list[Path]:
        """Bring back the files that match; existing ones are replaced. Returns their paths."""
        pieces = self._fetching = _Pieces()
        writer = _Writer(into)
        try:
            host.fetch(mounts.ROOT, patterns, pieces.put)
            while (message := pieces.take()) is not None:
                writer.take(message.head, message.buffers[0])
        finally:
            self._fetching = None
            pieces.leave()
        for name in writer.problems:
            self._reporter.notice(f"artifact {name}")
        if not writer.done:
            self._reporter.notice(f"no file matched --artifacts {' '.join(patterns)}")
        return writer.done


class _Pieces:
    """Fetched pieces between the link's reader and whoever writes them to files."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(PIECES_AHEAD)
        self._left = False

    def put(self, piece: Any) -> None:
        """A message, None after the last one, or the error that ends it. The reader's thread."""
        if not self._left:
            self._queue.put(piece)

    def take(self) -> Any:
        """The next message, or None. Raises RemoteError or the error that was put."""
        try:
            piece = self._queue.get(timeout=FETCH_WAIT)
        except queue.Empty:
            raise RemoteError("the artifacts stopped arriving") from None
        if isinstance(piece, InstanceError):
            raise piece
        return piece

    def leave(self) -> None:
        """Nobody takes any more; a reader that waits for room goes on."""
        self._left = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()


class _Writer:
    """Puts fetched pieces into files below a folder; nothing can land outside of it."""

    def __init__(self, into: Path) -> None:
        self._into = into.resolve()
        self._part: Path | None = None
        self.done: list[Path] = []
        self.problems: list[str] = []

    def take(self, head: Mapping[str, Any], data: Any) -> None:
        """One piece; the last one of a file puts it in place."""
        name = str(head["path"])
        if head.get("error"):
            self.problems.append(f"{name} could not be read: {head['error']}")
            return
        target = self._into / name
        if not target.parent.resolve().is_relative_to(self._into):
            self.problems.append(f"{name} would lie outside {self._into}")
            return
        part = target.with_name(f".{target.name}.byoc-part")
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if head["offset"] else "wb") as file:
            file.seek(head["offset"])
            file.write(data)
            size = file.tell()
        if size >= head["size"]:
            os.chmod(part, head["mode"] & 0o777)
            shutil.move(part, target)
            self.done.append(target)
