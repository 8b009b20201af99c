"""uv on an instance that has none: where it comes from, and that nothing else is run."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.engine import ownuv
from byoc.errors import ImageBuildError
from byoc.images.native import plan
from byoc.images.recipe import Image
from byoc.runtime_agent import uvbin, uvfetch
from byoc.runtime_agent.uvbin import Host, NoUvError, Wanted
from tests.runtime_agent.machine import Machine
from tests.runtime_agent.wheels import Index, sha256, uv_program

OWN = "%d.%d" % sys.version_info[:2]
VERSION = "1.2.3"
MACHINE = os.uname().machine
PLATFORM = "musllinux_1_1" if sys.platform == "linux" else "macosx_11_0"


def program(version: str = VERSION) -> bytes:
    """A uv of our own, which knows its version and nothing else."""
    return f"#!/bin/sh\necho 'uv {version} (test)'\n".encode()


def uv_wheel(folder: Path, version: str = VERSION, says: str = "", tag: str = "") -> Path:
    """A wheel of uv as its makers build them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"uv-{version}-py3-none-{tag or f'{PLATFORM}_{MACHINE}'}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"uv-{version}.data/scripts/uvx", b"not this one")
        file.writestr(f"uv-{version}.data/scripts/uv", program(says or version))
    return path


class Place:
    """An instance's cache folder and environment, and what the log said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.wheels = folder / "wheels"
        self.env = {"PATH": str(folder / "bin")}
        self.log = b""

    def write(self, data: bytes) -> None:
        """Takes the log."""
        self.log += data

    def locate(self, wanted: Wanted) -> Path:
        """Which uv is used."""
        return Path(uvbin.locate(wanted, str(self.cache), self.env, self.write))

    def on_path(self, data: bytes) -> Path:
        """A uv on PATH."""
        path = self.folder / "bin/uv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755)
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place without any uv."""
    return Place(tmp_path)


@pytest.fixture
def index(place: Place) -> Iterator[Index]:
    """An index that asks for a login, which the place's environment has."""
    index = Index(place.wheels, "user:p@ss")
    with index.serving():
        place.env["UV_DEFAULT_INDEX"] = f"http://user:p%40ss@127.0.0.1:{index.port}/simple/"
        yield index


def test_the_providers_own_comes_first(place: Place) -> None:
    """Where the provider says that uv is, it is taken, and nothing is asked."""
    own = place.on_path(program("0.0.1"))
    assert place.locate(Wanted(path=str(own), version=VERSION)) == own


def test_one_on_path(place: Place) -> None:
    """A uv on PATH that is new enough is used; one that is too old or no uv is not."""
    found = place.on_path(program("0.9.0"))
    assert place.locate(Wanted(version=VERSION)) == found
    for data in (program("0.8.22"), b"#!/bin/sh\nexit 127\n", b"\x7fELF nonsense"):
        place.on_path(data)
        with pytest.raises(NoUvError, match=r"no uv of 0\.9 or newer"):
            place.locate(Wanted())


@pytest.mark.parametrize("speaks_json", [True, False], ids=["json", "html"])
def test_fetched_from_the_index(place: Place, index: Index, speaks_json: bool) -> None:
    """The client's version is fetched once with the instance's own settings, and then kept."""
    index.speaks_json = speaks_json
    uv_wheel(place.wheels)
    uv_wheel(place.wheels, "1.2.4")
    asked: list[str] = []
    index.seen = asked.append
    found = place.locate(Wanted(version=VERSION))
    assert found == place.cache / "bin" / f"uv-{VERSION}"
    assert found.read_bytes() == program() and found.stat().st_mode & 0o777 == 0o755
    assert len(asked) == 2
    assert b"p@ss" not in place.log and b"is fetched from http://127.0.0.1" in place.log
    assert place.locate(Wanted(version=VERSION)) == found and len(asked) == 2
    assert sorted(os.listdir(found.parent)) == ["lock", found.name]


def test_many_builds_fetch_once(place: Place, index: Index) -> None:
    """Builds that begin together wait for one fetch."""
    uv_wheel(place.wheels)
    asked: list[str] = []
    index.seen = asked.append
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(place.locate(Wanted(version=VERSION))))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 5
    assert len(asked) == 2


def test_damaged_on_the_way(place: Place, index: Index) -> None:
    """A wheel that is not what the index says is never run, and nothing of it is left."""
    path = uv_wheel(place.wheels)

    def tamper(asked: str) -> None:
        if asked.endswith(".whl"):
            path.write_bytes(path.read_bytes() + b"x")

    index.seen = tamper
    with pytest.raises(NoUvError, match="not what its SHA-256 says"):
        place.locate(Wanted(version=VERSION))
    assert os.listdir(place.cache / "bin") == ["lock"]


def test_one_that_does_not_run_here(place: Place, index: Index) -> None:
    """A program that does not say the version that was wanted is not kept."""
    uv_wheel(place.wheels, says="9.9.9")
    with pytest.raises(NoUvError, match="does not work here"):
        place.locate(Wanted(version=VERSION))
    assert os.listdir(place.cache / "bin") == ["lock"]


def test_not_in_the_index(place: Place, index: Index) -> None:
    """An index that has other versions only is said so, without its login."""
    uv_wheel(place.wheels, "1.0.0")
    with pytest.raises(NoUvError, match=rf"none on PATH; .*it has no uv {VERSION}") as caught:
        place.locate(Wanted(version=VERSION))
    assert "p@ss" not in str(caught.value) and "p%40ss" not in str(caught.value)


def test_no_way_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where connections are refused, or nobody ever answers, that is known soon."""
    monkeypatch.setattr(uvfetch, "ASK_LIMIT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        place.env["PIP_INDEX_URL"] = f"http://127.0.0.1:{port}/simple"
        with pytest.raises(NoUvError, match=r"no answer within 0\.2 s"):
            place.locate(Wanted(version=VERSION))
    with pytest.raises(NoUvError, match="refused"):
        place.locate(Wanted(version=VERSION))


def test_the_clients_own(place: Place) -> None:
    """What the client has sent is used when it is whole, and kept under its version."""
    sent = place.folder / "sent"
    sent.write_bytes(program())
    digest = hashlib.sha256(program()).hexdigest()
    with pytest.raises(NoUvError, match="damaged"):
        place.locate(Wanted("", VERSION, str(sent), digest[::-1]))
    found = place.locate(Wanted("", VERSION, str(sent), digest))
    assert found.read_bytes() == program() and os.access(found, os.X_OK)
    sent.unlink()
    assert place.locate(Wanted(version=VERSION)) == found


GLIBC = Host("linux", "x86_64", "glibc", (2, 36))
WHEELS = {
    "musllinux_1_1_x86_64": "static",
    "manylinux_2_17_x86_64.manylinux2014_x86_64": "glibc",
    "manylinux_2_28_aarch64": "arm",
    "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64": "arm, static",
    "macosx_11_0_arm64": "mac",
    "win_amd64": "windows",
}


@pytest.mark.parametrize(
    ("without", "here", "chosen"),
    [
        ("", GLIBC, "static"),
        ("static", GLIBC, "glibc"),
        ("static", GLIBC._replace(libc_version=(2, 12)), ""),
        ("static", GLIBC._replace(libc=""), ""),
        ("", GLIBC._replace(machine="aarch64", libc=""), "arm, static"),
        ("arm, static", GLIBC._replace(machine="aarch64"), "arm"),
        ("", Host("darwin", "arm64", "", ()), "mac"),
        ("", GLIBC._replace(machine="riscv64"), ""),
    ],
)
def test_the_wheel_that_fits(without: str, here: Host, chosen: str) -> None:
    """The wheel for this processor and libc is taken, a static one first, and never another."""
    files = [
        uvfetch.File(f"uv-{VERSION}-py3-none-{tags}.whl", name, "ab")
        for tags, name in WHEELS.items()
        if name != without
    ]
    files += [uvfetch.File(f"uv-{VERSION}.tar.gz", "source", "ab"), uvfetch.File("x", "x", "ab")]
    if chosen:
        assert uvfetch.choose(files, VERSION, here).url == chosen
    else:
        with pytest.raises(ValueError, match="has no uv"):
            uvfetch.choose(files, VERSION, here)
    bare = [file._replace(digest="") for file in files]
    with pytest.raises(ValueError, match="has no uv"):
        uvfetch.choose(bare, VERSION, here)


def test_own_program_is_sent_where_it_runs() -> None:
    """Our own uv is offered to a host of our kind, and to no other."""
    uv_program()
    here = uvbin.host()
    found = ownuv.program(here._asdict(), "nothing worked")
    assert isinstance(found.source, Path) and found.digest == sha256(found.source)
    for other in (
        here._replace(machine="other"),
        here._replace(system="plan9"),
        here._replace(libc=""),
    ):
        if other.libc or here.libc:
            with pytest.raises(ImageBuildError, match="nothing worked") as caught:
                ownuv.program(other._asdict(), "nothing worked")
            assert caught.value.hints


def test_an_agent_asks_for_it(fresh: Machine) -> None:
    """An agent that finds no uv says what it runs on, and builds with the one that it is sent."""
    ours = Path(uv_program())
    fresh.shell = "export PATH=/nonexistent PIP_INDEX_URL=http://127.0.0.1:9/simple; "
    client = fresh.client()
    wanted = plan(Image.debian_slim(OWN), local_python=OWN).to_json()
    version = ownuv.version()
    head = {"t": "env", "plan": wanted, "cache": str(fresh.home / "cache"), "uv": ""}
    head["uv_version"] = version
    answer = client.request(head)
    assert not answer["ok"] and "none on PATH; fetching it from http" in answer["error"]
    program = ownuv.program(answer["needs"], answer["error"])
    client.request({"t": "blobs", "parts": [[program.digest, True]]}, ours.read_bytes())
    answer = client.request({**head, "uv_digest": program.digest})
    assert answer["ok"] and answer["env"]["built"]
    assert (fresh.home / f"cache/bin/uv-{version}").exists()
