"""Local files on their way: places, contents, links and limits."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from byoc.errors import InvalidError
from byoc.images import mounts
from byoc.images.mounts import FileEntry
from byoc.images.recipe import Image
from tests.images.test_selection import write


def by_path(entries: list[FileEntry]) -> dict[str, bytes]:
    """Remote path -> content, checked against size and digest."""
    found = {}
    for entry in entries:
        with entry.open() as file:
            data = file.read()
        assert len(data) == entry.size
        assert hashlib.sha256(data).hexdigest() == entry.digest
        found[entry.path] = data
    return found


def test_script_goes_to_the_root(tmp_path: Path) -> None:
    """dir/foo.py is /root/foo.py."""
    write(tmp_path, "dir/foo.py", text="print(1)")
    assert by_path(mounts.for_module_file(tmp_path / "dir" / "foo.py")) == {
        "/root/foo.py": b"print(1)"
    }
    with pytest.raises(InvalidError, match="nowhere"):
        mounts.for_module_file(tmp_path / "nowhere.py")


def test_package_sends_its_python_source(tmp_path: Path) -> None:
    """All .py files of the package under its own name, and nothing else."""
    write(tmp_path, "pkg/__init__.py", "pkg/a.py", "pkg/sub/b.py", "pkg/data.csv", "other.py")
    write(tmp_path, "pkg/__pycache__/a.py", "pkg/.hidden/c.py")
    assert sorted(by_path(mounts.for_package(tmp_path / "pkg"))) == [
        "/root/pkg/__init__.py",
        "/root/pkg/a.py",
        "/root/pkg/sub/b.py",
    ]


def test_folder_keeps_its_shape_and_the_executable_bit(tmp_path: Path) -> None:
    """Files lie below the remote folder as they do here; of the mode only 'executable' counts."""
    write(tmp_path, "run.sh", "sub/a.py")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "sub" / "a.py").chmod(0o600)
    entries = mounts.for_folder(tmp_path, "/root/work/")
    assert [(e.path, e.mode) for e in entries] == [
        ("/root/work/run.sh", 0o755),
        ("/root/work/sub/a.py", 0o644),
    ]
    assert entries[0].to_json() == ["/root/work/run.sh", 1, 0o755, entries[0].digest]


def test_folder_tells_what_it_withholds(tmp_path: Path) -> None:
    """A file that looks like a secret is not sent, and one notice says so and what to do."""
    write(tmp_path, "a.py", ".env", text="KEY=hunter2")
    notices: list[str] = []
    assert list(by_path(mounts.for_folder(tmp_path, notice=notices.append))) == ["/root/a.py"]
    (notice,) = notices
    assert ".env" in notice and "!.env" in notice and "hunter2" not in notice


def test_home_and_the_whole_disk_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is a project, and sending them would take all that is in them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path, Path("/")):
        with pytest.raises(InvalidError, match="not a project folder"):
            mounts.for_folder(folder)
    with pytest.raises(InvalidError, match="there is no folder"):
        mounts.for_folder(tmp_path / "missing")


def test_links_inside_become_their_content(tmp_path: Path) -> None:
    """A link to a file is that content; a link to a folder is what of it travels."""
    write(tmp_path, "data/x.txt", "data/deep/y.txt", "data/z.pyc", text="hi")
    (tmp_path / "link.txt").symlink_to("data/x.txt")
    (tmp_path / "again").symlink_to("data")
    assert sorted(by_path(mounts.for_folder(tmp_path))) == [
        "/root/again/deep/y.txt",
        "/root/again/x.txt",
        "/root/data/deep/y.txt",
        "/root/data/x.txt",
        "/root/link.txt",
    ]


def test_links_outside_loops_and_pipes_are_skipped_with_a_notice(tmp_path: Path) -> None:
    """Nothing from outside the folder is sent, nothing is followed for ever, nothing blocks."""
    root = tmp_path / "project"
    write(root, "a.py", "d/b.py", ".env")
    write(tmp_path, "outside/secret.txt")
    (root / "out.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (root / "outdir").symlink_to("../outside")
    (root / "broken").symlink_to("nowhere")
    (root / "self").symlink_to("self")
    (root / "d" / "up").symlink_to("../d")
    (root / "top").symlink_to(".")
    (root / "innocent").symlink_to(".env")
    os.mkfifo(root / "pipe")
    notices: list[str] = []
    sent = by_path(mounts.for_folder(root, notice=notices.append))
    assert sorted(sent) == ["/root/a.py", "/root/d/b.py"]
    skipped = notices[-1]
    assert all(name in skipped for name in ("broken", "d/up", "innocent", "out.txt", "more"))


def test_mutual_links_end(tmp_path: Path) -> None:
    """Two folders that link into each other give a finite list."""
    write(tmp_path, "a/x", "b/y")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    sent = by_path(mounts.for_folder(tmp_path))
    assert {"/root/a/x", "/root/b/y", "/root/a/to_b/y", "/root/b/to_a/x"} <= set(sent)
    assert len(sent) < 10


def test_added_file_and_folder(tmp_path: Path) -> None:
    """add_local_file and add_local_dir put things where they say; patterns and functions ignore."""
    write(tmp_path, "f.txt", "d/a.txt", "d/b.log", "d/sub/c.log", "d/.git/config")
    image = (
        Image.debian_slim()
        .add_local_file(tmp_path / "f.txt", "/root/in/")
        .add_local_dir(tmp_path / "d", "/data", ignore=["**/*.log", "!sub/c.log", ".git"])
        .add_local_dir(tmp_path / "d", "/only", ignore=lambda path: path.suffix != ".txt")
    )
    assert sorted(by_path(mounts.for_image(image))) == [
        "/data/a.txt",
        "/data/sub/c.log",
        "/only/a.txt",
        "/root/in/f.txt",
    ]


def test_added_folder_says_when_it_sends_secrets(tmp_path: Path) -> None:
    """A folder that was named is sent as it is, and what looks like a secret in it is told."""
    write(tmp_path, "d/.env", "d/a.txt")
    notices: list[str] = []
    image = Image.debian_slim().add_local_dir(tmp_path / "d", "/root/d")
    assert len(mounts.for_image(image, notices.append)) == 2
    assert len(notices) == 1 and ".env" in notices[0]


def test_python_source_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules, packages and dotted names arrive where they can be imported."""
    write(
        tmp_path, "onefile_m.py", "package_m/__init__.py", "package_m/sub/x.py", "package_m/d.csv"
    )
    write(tmp_path, "space_m/inner/y.py")
    monkeypatch.syspath_prepend(tmp_path)
    image = Image.debian_slim().add_local_python_source("onefile_m", "package_m", "space_m.inner")
    assert sorted(by_path(mounts.for_image(image))) == [
        "/root/onefile_m.py",
        "/root/package_m/__init__.py",
        "/root/package_m/sub/x.py",
        "/root/space_m/inner/y.py",
    ]
    everything = Image.debian_slim().add_local_python_source("package_m", ignore=[])
    assert "/root/package_m/d.csv" in by_path(mounts.for_image(everything))


@pytest.mark.parametrize("name", ["no_such_module_m", "sys", "no_such_package_m.sub"])
def test_python_source_that_cannot_travel_is_refused(name: str) -> None:
    """What is missing, or no source, is refused with its name."""
    image = Image.debian_slim().add_local_python_source(name)
    with pytest.raises(InvalidError, match=name):
        mounts.for_image(image)


def test_missing_and_wrong_kinds_are_refused(tmp_path: Path) -> None:
    """A missing file, a folder as a file, a file as a folder: named, with what to use instead."""
    write(tmp_path, "f")
    base = Image.debian_slim()
    with pytest.raises(InvalidError, match="nowhere"):
        mounts.for_image(base.add_local_file(tmp_path / "nowhere", "/root/x"))
    with pytest.raises(InvalidError) as caught:
        mounts.for_image(base.add_local_file(tmp_path, "/root/x"))
    assert "add_local_dir" in caught.value.hints[0]
    with pytest.raises(InvalidError, match="there is no folder"):
        mounts.for_image(base.add_local_dir(tmp_path / "f", "/root/x"))


def test_later_files_win(tmp_path: Path) -> None:
    """Two files for one place: the later one, within an image and between groups."""
    write(tmp_path, "one", text="1")
    write(tmp_path, "two", text="2")
    base = Image.debian_slim()
    image = base.add_local_file(tmp_path / "one", "/root/x").add_local_file(
        tmp_path / "two", "/root/x"
    )
    assert by_path(mounts.for_image(image)) == {"/root/x": b"2"}
    groups = mounts.collect(mounts.for_image(image), [mounts.from_bytes("/root/x", b"3")])
    assert by_path(groups) == {"/root/x": b"3"}


def test_too_much_is_refused_and_the_biggest_are_named(tmp_path: Path) -> None:
    """Before anything is read: the total, the limit and the five biggest files, biggest first."""
    for number in range(1, 8):
        with open(tmp_path / f"f{number}.bin", "wb") as file:
            file.truncate(number * 100 * 1024**2)  # takes no room: it is never written
    with pytest.raises(InvalidError, match=r"2800\.0 MiB") as caught:
        mounts.for_folder(tmp_path)
    message = str(caught.value)
    assert message.index("f7.bin (700.0 MiB)") < message.index("f3.bin")
    assert "f2.bin" not in message


def test_all_groups_together_have_the_limit() -> None:
    """Each group may be small enough alone; what is one content counts once."""
    size = mounts.MAX_BYTES // 4

    def group(digest: str) -> list[FileEntry]:
        return [FileEntry(f"/root/{digest[0]}", b"", size, 0o644, digest)]

    assert len(mounts.collect(*(group(str(n) * 64) for n in range(4)))) == 4
    with pytest.raises(InvalidError, match=r"1280\.0 MiB"):
        mounts.collect(*(group(str(n) * 64) for n in range(5)))
    many = [FileEntry(f"/root/{n}", b"", size, 0o644, "0" * 64) for n in range(10)]
    assert len(mounts.collect(many)) == 10


def test_sockets_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket in the folder is skipped."""
    monkeypatch.chdir(tmp_path)  # a socket's path is limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        write(tmp_path, "a")
        assert list(by_path(mounts.for_folder(tmp_path))) == ["/root/a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A file that cannot be read is an error with its name and a way out."""
    write(tmp_path, "a", "closed")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(InvalidError, match="closed") as caught:
        mounts.for_folder(tmp_path)
    assert ".byocignore" in caught.value.hints[0]


def test_a_file_that_grows_is_sent_as_it_was(tmp_path: Path) -> None:
    """The output of the very command may go to a file of the folder: what was there when the folder
    was looked at travels, and is what its digest says."""
    log, empty = tmp_path / "out.log", tmp_path / "new.log"
    log.write_bytes(b"before\n")
    empty.touch()
    entries = mounts.for_folder(tmp_path)
    for path in (log, empty):
        with path.open("ab") as more:
            more.write(b"and after\n")
    for entry in entries:
        for size in (-1, 3):
            with entry.open() as file:
                data = b"".join(iter(lambda: file.read(size), b""))  # noqa: B023 - used at once
            assert hashlib.sha256(data).hexdigest() == entry.digest
