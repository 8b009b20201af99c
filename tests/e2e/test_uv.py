"""An instance without uv, as in a cloud: it gets the client's, and builds with that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import byoc
from byoc.engine import ownuv
from byoc.providers.base import Traits
from byoc.providers.local import instance
from byoc.providers.local.provider import LocalProvider


def test_the_clients_uv_is_sent(byoc_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no index can be reached the client's own program builds the image, sent only once."""
    if shutil.which("uv", path=instance._PATH):
        pytest.skip("this host has a uv where every machine finds it")
    known = LocalProvider.traits.fget
    assert known is not None
    sent: list[str] = []
    program = ownuv.program

    def bare(self: LocalProvider) -> Traits:
        found: Traits = known(self)
        return found._replace(uv="", cache="")

    def noted(host: object, why: str) -> object:
        sent.append(why)
        return program(host, why)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalProvider, "traits", property(bare))
    monkeypatch.setattr(ownuv, "program", noted)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    app = byoc.App("without-uv")
    images = [byoc.Image.debian_slim().env({"N": str(number)}) for number in (1, 2)]

    def number() -> str:
        import os

        return os.environ["N"]

    first = app.function(image=images[0], serialized=True, name="first")(number)
    second = app.function(image=images[1], serialized=True, name="second")(number)
    with app.run():
        assert (first.remote(), second.remote()) == ("1", "2")
    assert len(sent) == 1 and "fetching it from http://127.0.0.1:9/simple failed" in sent[0]
