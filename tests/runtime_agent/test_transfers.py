"""Files to the machine and back, through the agent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from byoc.runtime_agent import artifacts
from byoc.wire import messages
from tests.runtime_agent.machine import Client, Machine, Running

MB = 1024 * 1024


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def sync(client: Client, files: dict[str, bytes], inline: tuple[str, ...] = ()) -> Any:
    """Ask for these files below ``/root``; those of ``inline`` travel along."""
    entries = [[f"/root/{name}", len(data), 0o640, digest(data)] for name, data in files.items()]
    head = {"t": "files", "entries": entries, "real_root": False}
    head["root"] = str(client.machine.home)
    head["inline"] = [digest(files[name]) for name in inline]
    return client.request(head, *[files[name] for name in inline])


def test_files_are_asked_for_once(client: Client) -> None:
    """Small contents come along; the agent names what it lacks, takes it in pieces, places all."""
    files = {"app/main.py": b"print(1)\n", "app/data.bin": os.urandom(3 * MB), "empty": b""}
    answer = sync(client, files, inline=("app/main.py", "empty"))
    assert answer["missing"] == [digest(files["app/data.bin"])]
    assert not (client.machine.home / "app").exists()
    big = files["app/data.bin"]
    for start in range(0, len(big), MB):
        parts = [[digest(big), start + MB >= len(big)]]
        assert client.request({"t": "blobs", "parts": parts}, big[start : start + MB])["ok"]
    assert sync(client, files)["missing"] == []
    for name, data in files.items():
        path = client.machine.home / name
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o640
    assert sync(client, {"empty": b""})["missing"] == []
    assert not (client.machine.home / "app").exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "/root/../x", "relative", "/root"])
def test_files_outside_the_root_are_refused(client: Client, path: str) -> None:
    """Nothing is placed outside the folder that stands for /root."""
    entries = [[path, 0, 0o644, digest(b"")]]
    head = {"t": "files", "entries": entries, "real_root": False, "inline": [digest(b"")]}
    reply = client.request({**head, "root": str(client.machine.home)}, b"")
    assert not reply["ok"]
    assert path in reply["error"]


def test_damaged_contents_are_refused(client: Client) -> None:
    """A content that is not what its digest says is not kept, and may be sent again."""
    data = os.urandom(1000)
    parts = {"t": "blobs", "parts": [[digest(data), True]]}
    assert "damaged" in client.request(parts, b"other")["error"]
    assert client.request(parts, data)["ok"]
    assert sync(client, {"mended": data})["missing"] == []


def test_half_a_content_is_void_after_the_session(shared: Machine) -> None:
    """What a client had half sent when it vanished does not spoil the next client's."""
    data = os.urandom(1000)
    first = shared.client(takeover=True)
    assert first.request({"t": "blobs", "parts": [[digest(data), False]]}, data[:500])["ok"]
    second = shared.client(takeover=True)
    assert second.request({"t": "blobs", "parts": [[digest(data), True]]}, data)["ok"]
    assert not list((shared.home / ".byoc/blobs").glob(".new-*"))


# --- back -------------------------------------------------------------------------------------


def fetched(client: Client, root: Path, *patterns: Any) -> tuple[dict[str, bytes], dict[str, str]]:
    """Fetch; contents by path, and errors by path. Pieces must be complete and in order."""
    stream = Running(client, 900 + len(client.running))
    client.running[stream.stream] = stream
    client.send({"t": "fetch", "c": stream.stream, "root": str(root), "patterns": patterns})
    client.until(lambda: stream.word is not None, "the last file")
    contents: dict[str, bytes] = {}
    errors: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for head, (data,) in stream.received:
        if "error" in head:
            errors[head["path"]] = head["error"]
            continue
        assert len(contents.setdefault(head["path"], b"")) == head["offset"]
        assert head["offset"] == 0 or data, "a piece after the last"
        contents[head["path"]] += bytes(data)
        sizes[head["path"]] = head["size"]
    assert {name: len(data) for name, data in contents.items()} == sizes
    return contents, errors


@pytest.fixture
def tree(client: Client, tmp_path: Path) -> Path:
    """A folder with files to fetch."""
    root = tmp_path / "root"
    for name in ("a.txt", "out/b.txt", "out/deep/c.bin", "out/empty", "other/d.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name.endswith("empty") else name.encode())
    return root


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["a.txt"], {"a.txt"}),
        (["out"], {"out/b.txt", "out/deep/c.bin", "out/empty"}),
        (["out/"], {"out/b.txt", "out/deep/c.bin", "out/empty"}),
        (["**/*.txt"], {"a.txt", "out/b.txt", "other/d.txt"}),
        (["*/*.txt", "out"], {"other/d.txt", "out/b.txt", "out/deep/c.bin", "out/empty"}),
        (["nothing*", "[", "other/*"], {"other/d.txt"}),
        (["../secret", "/etc/hostname", "out/../../secret"], set()),
        ([], set()),
    ],
)
def test_patterns_choose_files(
    client: Client, tree: Path, patterns: list[str], names: set[str]
) -> None:
    """Patterns match files and whole folders below the root, each file once, and nothing else."""
    (tree.parent / "secret").write_text("no")
    contents, errors = fetched(client, tree, *patterns)
    assert set(contents) == names
    assert errors == {}
    assert all(data == name.encode() or name.endswith("empty") for name, data in contents.items())


@pytest.mark.parametrize(
    "size", [0, 1, artifacts.PIECE - 1, artifacts.PIECE, artifacts.PIECE + 1, 9 * MB]
)
def test_files_of_every_size(client: Client, tmp_path: Path, size: int) -> None:
    """A file arrives whole, in pieces that end with its last byte."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert fetched(client, tmp_path, "file") == ({"file": data}, {})


def test_links_lead_nowhere_else(client: Client, tree: Path) -> None:
    """A link inside the root is followed; one that leads out of it is not, nor a linked folder."""
    secret = tree.parent / "secret"
    secret.mkdir()
    (secret / "key").write_text("no")
    (tree / "in").symlink_to("a.txt")
    (tree / "out.link").symlink_to(secret / "key")
    (tree / "folder").symlink_to(secret)
    (tree / "up").symlink_to("..")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "loop").symlink_to("loop")
    contents, errors = fetched(client, tree, "*", "folder", "folder/*", "up/secret/*", "**/key")
    assert "in" in contents
    assert not {n for n in contents if "key" in n or "link" in n or n.startswith(("folder", "up"))}
    assert errors == {}


def test_what_is_no_file_is_left_out(client: Client, tree: Path) -> None:
    """Pipes and sockets are not read, which would never end."""
    os.mkfifo(tree / "pipe")
    contents, _ = fetched(client, tree, "*")
    assert "pipe" not in contents


def test_strange_names_arrive(client: Client, tmp_path: Path) -> None:
    """Names with spaces, stars, newlines and bytes that are no text are fetched like any other."""
    names = ["two words", "sta*r", "[x]", "new\nline", "ümlaut", os.fsdecode(b"b\xffytes")]
    for name in names:
        (tmp_path / name).write_text("x")
    contents, errors = fetched(client, tmp_path, "*")
    assert (set(contents), errors) == (set(names), {})


def test_a_pattern_that_no_path_can_match(client: Client, tmp_path: Path) -> None:
    """Patterns that are no text, or no path, match nothing and harm nothing."""
    (tmp_path / "5").write_text("five")
    assert fetched(client, tmp_path, "a\0b", "\ud800", 5) == ({"5": b"five"}, {})
    assert fetched(client, tmp_path / "missing", "*") == ({}, {})


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """A file that grows is cut at its first size; one that shrinks is reported."""
    grows, shrinks = tmp_path / "grows", tmp_path / "shrinks"
    for path in (grows, shrinks):
        path.write_bytes(bytes(3 * MB))
    source = artifacts.Source(str(tmp_path), ["grows", "shrinks"])
    seen: list[messages.Message] = []
    assembler = messages.Assembler()
    while parts := source.next():
        seen += assembler.feed(b"".join(parts))
        with grows.open("ab") as file:
            file.write(bytes(MB))
        if seen[-1].head["path"] == "shrinks":
            os.truncate(shrinks, MB)
    grown = [m for m in seen if m.head["path"] == "grows"]
    assert sum(len(m.buffers[0]) for m in grown) == grown[0].head["size"]
    assert seen[-1].head["error"] == "it became shorter while it was read"


def test_a_fetch_waits_for_a_slow_reader(fresh: Machine) -> None:
    """A large file is read only as fast as the client takes it."""
    client = fresh.client()
    (fresh.home / "big").write_bytes(bytes(60 * MB))
    stream = Running(client, 900)
    client.running[900] = stream
    client.slow.add(900)
    before = fresh.rss()
    client.send({"t": "fetch", "c": 900, "root": str(fresh.home), "patterns": ["big"]})
    client.until(lambda: client.unused[900] > 3 * MB, "the first pieces")
    assert client.request({"t": "nothing"})["ok"] is False
    assert fresh.rss() - before < 20 * MB
    client.use(900)
    client.until(lambda: stream.word is not None, "the rest")
    assert sum(len(m.buffers[0]) for m in stream.received) == 60 * MB
