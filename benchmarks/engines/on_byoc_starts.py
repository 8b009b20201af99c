"""byoc: containers that serve one input each, with stamps of every step of their start.

Client and instance are the same host, so their monotonic clocks agree.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()
"""A container has begun to load the user's module."""

from typing import TYPE_CHECKING, Any  # noqa: E402

import byoc  # noqa: E402

if TYPE_CHECKING:
    import contextlib

app = byoc.App("benchmark")


@app.cls(single_use_containers=True, max_containers=1)
class Once:
    """An empty enter hook, and a method that tells when things happened."""

    @byoc.enter()
    def enter(self) -> None:
        """Nothing but a stamp."""
        self.entered = time.monotonic()

    @byoc.method()
    def stamps(self, x: int) -> tuple[int, float, float, float]:
        """The input; when loading began, when the hook ran, when this does."""
        return x, BEGAN, self.entered, time.monotonic()


class Watch:
    """Notes when the client's session asks for containers and when it hears that they are ready.

    It wraps :class:`byoc.engine.agentlink.AgentLink`'s ``send`` and ``listen``, the narrow place
    that both pass.
    """

    def __init__(self) -> None:
        from byoc.engine.agentlink import AgentLink

        self.asked: list[float] = []
        self.ready: list[float] = []
        send, listen = AgentLink.send, AgentLink.listen

        def sending(link: Any, stream: int, head: Any, *buffers: Any) -> Any:
            if head.get("t") == "start" and head.get("kind") == "function":
                self.asked.append(time.monotonic())
            return send(link, stream, head, *buffers)

        def listening(link: Any, stream: int, handler: Any, **options: Any) -> Any:
            def hear(kind: int, payload: Any) -> Any:
                if b'"t":"ready"' in bytes(payload[:400]).replace(b" ", b""):
                    self.ready.append(time.monotonic())
                return handler(kind, payload)

            return listen(link, stream, hear, **options)

        patched: Any = AgentLink
        patched.send, patched.listen = sending, listening


class Starts:
    """Only what :func:`starts` and :func:`crowd` need; see :class:`driver.Engine`."""

    def start(self) -> None:
        import contextlib

        self.watch = Watch()
        self.stack: contextlib.ExitStack = contextlib.ExitStack()
        self.stack.enter_context(app.run())
        self.once: Any = Once()
        for x in range(5):
            self.once.stamps.remote(x)

    def stop(self) -> None:
        self.stack.close()


def starts(engine: Starts, n: int, pause: float) -> dict[str, Any]:
    """``n`` calls one after another, each in a container of its own; steps in milliseconds.

    ``pause``: seconds between them, in which a zygote may prepare the next one.
    """
    found = []
    for x in range(n):
        time.sleep(pause)
        seen = len(engine.watch.asked), len(engine.watch.ready)
        called = time.monotonic()
        answer, began, entered, ran = engine.once.stamps.remote(x)
        ended = time.monotonic()
        assert answer == x
        asked = engine.watch.asked[seen[0] :]
        ready = engine.watch.ready[seen[1] :]
        assert len(asked) == len(ready) == 1, (asked, ready)
        steps = [called, asked[0], began, entered, ready[0], ran, ended]
        found.append([round((at - asked[0]) * 1e3, 4) for at in steps])
    return {"steps": found}


def crowd(engine: Starts, n: int) -> dict[str, Any]:
    """A map over ``n`` single-use containers, one at a time as fast as they come: a second's."""
    begun = time.perf_counter()
    found = list(engine.once.stamps.map(range(n)))
    seconds = time.perf_counter() - begun
    assert [row[0] for row in found] == list(range(n))
    return {"seconds": seconds}


if __name__ == "__main__":
    import driver

    made: Any = Starts()
    driver.main(made, starts=starts, crowd=crowd)
