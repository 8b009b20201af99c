"""The file store: contents verified, files put in place, nothing outside touched."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from byoc.runtime_agent import filestore
from byoc.runtime_agent.filestore import Entry, FileStore, FileStoreError, Target
from tests.helpers import ROOT, until


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


class Machine:
    """A store and a home folder, filled as a client would."""

    def __init__(self, folder: Path, real_root: bool = False) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.store = FileStore(str(folder / "store"))
        self.target = Target(str(self.home), real_root)

    def entry(self, path: str, data: bytes, mode: int = 0o644) -> Entry:
        """An entry whose content is in the store."""
        self.store.put(digest(data), data)
        return Entry(path, len(data), mode, digest(data))

    def place(self, files: dict[str, bytes]) -> dict[str, int]:
        """Makes the home hold these files, by remote path."""
        entries = [self.entry(path, data) for path, data in files.items()]
        return self.store.materialize(entries, self.target)

    def files(self) -> dict[str, bytes]:
        """Relative path -> content of everything in the home."""
        found = (path for path in self.home.rglob("*") if path.is_file())
        return {str(path.relative_to(self.home)): path.read_bytes() for path in found}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An instance that may write below its root only."""
    return Machine(tmp_path)


def test_contents_are_verified(machine: Machine) -> None:
    """What does not have its digest is refused and leaves nothing behind."""
    machine.store.put(digest(b"good"), b"good")
    with pytest.raises(FileStoreError, match="damaged"):
        machine.store.put(digest(b"good2"), b"bad")
    entries = [Entry("/root/a", 4, 0o644, digest(d)) for d in (b"good", b"good2", b"good2")]
    assert machine.store.missing(entries) == [digest(b"good2")]
    assert len(list((machine.home.parent / "store" / "blobs").iterdir())) == 1


def test_content_in_pieces(machine: Machine) -> None:
    """A content may arrive piece by piece; one that is given up leaves nothing."""
    data = os.urandom(300_000)
    with machine.store.writer(digest(data)) as writer:
        for start in range(0, len(data), 70_000):
            writer.write(memoryview(data)[start : start + 70_000])
        writer.commit()
    entry = Entry("/root/x", len(data), 0o644, digest(data))
    assert machine.store.missing([entry]) == []
    with machine.store.writer(digest(b"never")) as writer:
        writer.write(b"ne")
    assert len(list((machine.home.parent / "store" / "blobs").iterdir())) == 1


@pytest.mark.parametrize("bad", ["../../etc/passwd", "", "ABC", "0" * 63, "0" * 64 + "/x"])
def test_digests_are_no_paths(machine: Machine, bad: str) -> None:
    """Only a digest names a content."""
    with pytest.raises(FileStoreError):
        machine.store.put(bad, b"")


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        ["/root/a", 1, 0o644],
        ["/root/a", 1, 0o644, "x"],
        [3, 1, 0o644, "0" * 64],
        ["/root/a", -1, 0o644, "0" * 64],
        ["/root/a", True, 0o644, "0" * 64],
        ["/root/a", 1, "rw", "0" * 64],
    ],
)
def test_garbage_rows_are_refused(row: object) -> None:
    """A row that is no entry is an error of ours and no crash."""
    with pytest.raises(FileStoreError, match="not a file entry"):
        Entry.from_json(row)


def test_rows_make_entries() -> None:
    """The row that a client sends; of the mode only permission bits are taken."""
    entry = Entry.from_json(json.loads(json.dumps(["/root/a", 1, 0o104755, "0" * 64])))
    assert (entry.path, entry.size, entry.mode) == ("/root/a", 1, 0o755)


def test_files_are_put_in_place(machine: Machine) -> None:
    """Contents, folders on the way, and modes."""
    entries = [
        machine.entry("/root/a.py", b"a"),
        machine.entry("/root/sub/deep/run.sh", b"b", 0o755),
        machine.entry("/root/empty", b""),
    ]
    assert machine.store.materialize(entries, machine.target) == {
        "written": 3,
        "kept": 0,
        "removed": 0,
    }
    assert machine.files() == {"a.py": b"a", "sub/deep/run.sh": b"b", "empty": b""}
    assert (machine.home / "sub/deep/run.sh").stat().st_mode & 0o777 == 0o755
    assert (machine.home / "a.py").stat().st_mode & 0o777 == 0o644


def test_unchanged_files_are_not_touched(machine: Machine) -> None:
    """The second time nothing is written: the file is the same one, its time is the old one."""
    files = {"/root/a": b"a", "/root/sub/b": b"b"}
    machine.place(files)
    before = (machine.home / "a").stat()
    assert machine.place(files) == {"written": 0, "kept": 2, "removed": 0}
    after = (machine.home / "a").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert machine.place({**files, "/root/a": b"A"}) == {"written": 1, "kept": 1, "removed": 0}
    assert machine.files() == {"a": b"A", "sub/b": b"b"}


def test_a_mode_alone_is_a_change(machine: Machine) -> None:
    """The same content with another mode gets that mode."""
    machine.store.materialize([machine.entry("/root/a", b"a")], machine.target)
    machine.store.materialize([machine.entry("/root/a", b"a", 0o755)], machine.target)
    assert (machine.home / "a").stat().st_mode & 0o777 == 0o755


def test_what_a_program_changed_is_put_right(machine: Machine) -> None:
    """A file that was edited, emptied, made unreadable or removed is as it was sent again."""
    files = {f"/root/{name}": b"content" for name in "abcd"}
    machine.place(files)
    (machine.home / "a").write_bytes(b"CONTENT")
    (machine.home / "b").write_bytes(b"")
    (machine.home / "c").unlink()
    (machine.home / "d").chmod(0o600)
    assert machine.place(files)["written"] == 4
    assert set(machine.files().values()) == {b"content"}
    assert (machine.home / "d").stat().st_mode & 0o777 == 0o644


def test_what_is_no_more_is_removed(machine: Machine) -> None:
    """Files sent before and not now go, with folders that this empties; others' files stay."""
    machine.place({"/root/a": b"a", "/root/x/y/b": b"b", "/root/x/c": b"c"})
    (machine.home / "x" / "output.txt").write_text("made by a program")
    done = machine.place({"/root/a": b"a"})
    assert done == {"written": 0, "kept": 1, "removed": 2}
    assert machine.files() == {"a": b"a", "x/output.txt": b"made by a program"}
    assert not (machine.home / "x" / "y").exists()


def test_file_and_folder_change_places(machine: Machine) -> None:
    """What was a file may become a folder and the other way round."""
    machine.place({"/root/a": b"file", "/root/b/c": b"in a folder"})
    machine.place({"/root/a/x": b"in a folder", "/root/b": b"file"})
    assert machine.files() == {"a/x": b"in a folder", "b": b"file"}


def test_names_are_apart(machine: Machine) -> None:
    """Two sets of files with names of their own do not remove each other's."""
    one, two = machine.entry("/root/one", b"1"), machine.entry("/root/two", b"2")
    machine.store.materialize([one], machine.target, "first")
    machine.store.materialize([two], machine.target, "second")
    machine.store.materialize([], machine.target, "first")
    assert machine.files() == {"two": b"2"}


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "/root", "/rootkit/a", "a", "../a", "/root/../a", "/root/./a"),
        *("/root//a", "/root/a/", "", "/", "/root/a\0b"),
    ],
)
def test_paths_outside_the_root_are_refused(machine: Machine, path: str) -> None:
    """Nothing but plain absolute paths below /root, and no other file is written either."""
    entries = [machine.entry("/root/ok", b"ok"), machine.entry(path, b"x")]
    with pytest.raises(FileStoreError):
        machine.store.materialize(entries, machine.target)
    assert machine.files() == {}


def test_links_are_not_followed(machine: Machine, tmp_path: Path) -> None:
    """A folder that a program replaced by a link is refused; a linked file is replaced itself."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"untouched")
    (machine.home / "dir").symlink_to(outside)
    with pytest.raises(FileStoreError, match="link"):
        machine.place({"/root/dir/victim": b"overwritten"})
    (machine.home / "file").symlink_to(outside / "victim")
    machine.place({"/root/file": b"mine"})
    assert (outside / "victim").read_bytes() == b"untouched"
    assert not (machine.home / "file").is_symlink()
    assert (machine.home / "file").read_bytes() == b"mine"


def test_removing_does_not_follow_links(machine: Machine, tmp_path: Path) -> None:
    """A folder swapped for a link between two runs: what it points to stays."""
    machine.place({"/root/dir/a": b"a"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"untouched")
    (machine.home / "dir" / "a").unlink()
    (machine.home / "dir").rmdir()
    (machine.home / "dir").symlink_to(outside)
    machine.place({})
    assert (outside / "a").read_bytes() == b"untouched"


def test_a_programs_folder_where_a_file_goes_is_refused(machine: Machine) -> None:
    """A folder with content is not replaced; the message names the place."""
    (machine.home / "out" / "results").mkdir(parents=True)
    with pytest.raises(FileStoreError, match="'/root/out'"):
        machine.place({"/root/out": b"x"})
    (machine.home / "f").write_bytes(b"")
    with pytest.raises(FileStoreError, match="not a folder"):
        machine.place({"/root/f/x": b"x"})


def test_other_places_on_a_machine_of_its_own(tmp_path: Path) -> None:
    """Where the whole machine is the instance's, other absolute paths are written too."""
    machine = Machine(tmp_path, real_root=True)
    real = tmp_path / "srv" / "real"
    real.mkdir(parents=True)
    (tmp_path / "srv" / "link").symlink_to(real)
    data = f"{tmp_path}/srv/link/deep/data.bin"
    machine.place({"/root/a": b"a", data: b"d"})
    assert (real / "deep" / "data.bin").read_bytes() == b"d"
    assert machine.files() == {"a": b"a"}
    machine.place({"/root/a": b"a"})
    assert not (real / "deep" / "data.bin").exists()


def test_places_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    """A path below a file is a clear refusal that names it."""
    machine = Machine(tmp_path, real_root=True)
    (tmp_path / "plain").write_text("")
    with pytest.raises(FileStoreError, match="plain"):
        machine.place({f"{tmp_path}/plain/x": b"x"})


def test_content_that_was_not_sent(machine: Machine) -> None:
    """Placing what is missing is an error with the file's name; a cut content is not used."""
    entry = Entry("/root/a", 4, 0o644, digest(b"data"))
    with pytest.raises(FileStoreError, match="'/root/a' was not sent"):
        machine.store.materialize([entry], machine.target)
    machine.store.put(digest(b"data"), b"data")
    blob = machine.home.parent / "store" / "blobs" / digest(b"data")
    blob.write_bytes(b"da")
    with pytest.raises(FileStoreError, match="another size"):
        machine.store.materialize([entry], machine.target)


def test_a_program_cannot_change_the_store(machine: Machine) -> None:
    """Writing into a placed file leaves the stored content as it is."""
    machine.place({"/root/a": b"original"})
    with open(machine.home / "a", "r+b") as file:
        file.write(b"CHANGED!")
    machine.place({"/root/a": b"original", "/root/b": b"original"})
    assert machine.files() == {"a": b"original", "b": b"original"}


def test_a_torn_record_of_places_is_survived(machine: Machine) -> None:
    """Half a record counts as none: everything is written anew."""
    machine.place({"/root/a": b"a"})
    record = machine.home.parent / "store" / "places" / "root.json"
    for text in ('{"/root/a": ["', "[]", ""):
        record.write_text(text)
        assert machine.place({"/root/a": b"a"})["written"] == 1
    assert machine.place({"/root/a": b"a"})["written"] == 0


KILLED = """
import os, sys
from byoc.runtime_agent import filestore as f
home, stop = sys.argv[1], int(sys.argv[2])
store, target = f.FileStore(sys.argv[3]), f.Target(home, False)
count = [0]
real = os.replace
def replace(*a, **k):
    if count[0] == stop:
        os.kill(os.getpid(), 9)
    count[0] += 1
    real(*a, **k)
os.replace = replace
store.materialize([f.Entry("/root/n%d" % n, 1, 420, sys.argv[4]) for n in range(4)], target)
"""


@pytest.mark.parametrize("stop", range(6))
def test_killed_at_any_rename_nothing_is_forgotten(machine: Machine, stop: int) -> None:
    """After a kill, the next sync with other files leaves exactly those."""
    machine.place({"/root/old": b"o"})
    machine.store.put(digest(b"n"), b"n")
    store = str(machine.home.parent / "store")
    command = [sys.executable, "-c", KILLED, str(machine.home), str(stop), store, digest(b"n")]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}, check=False)
    assert done.returncode == -signal.SIGKILL
    machine.place({"/root/new": b"w"})
    left = {name: data for name, data in machine.files().items() if not name.startswith(".byoc-")}
    assert left == {"new": b"w"}


def test_two_clients_may_send_the_same_content(tmp_path: Path) -> None:
    """Several writers of one content at once: all succeed, one content is there."""
    data = os.urandom(200_000)
    stores = [FileStore(str(tmp_path / "store")) for _ in range(4)]
    threads = [threading.Thread(target=s.put, args=(digest(data), data)) for s in stores]
    for thread in threads:
        thread.start()
    until(lambda: not any(thread.is_alive() for thread in threads))
    assert os.listdir(tmp_path / "store" / "blobs") == [digest(data)]


def test_prune_keeps_what_is_in_place(machine: Machine) -> None:
    """Old contents go first, and those of placed files never."""
    machine.place({"/root/used": b"u" * 1000})
    for number in range(3):
        machine.entry("/root/x", bytes([number]) * 1000)
        blob = machine.home.parent / "store" / "blobs" / digest(bytes([number]) * 1000)
        os.utime(blob, (number, number))
    assert machine.store.prune(2500) == 2000
    left = set(os.listdir(machine.home.parent / "store" / "blobs"))
    assert left == {digest(b"u" * 1000), digest(bytes([2]) * 1000)}
    assert machine.store.prune(0) == 1000
    assert machine.place({"/root/used": b"u" * 1000})["kept"] == 1


def test_the_store_is_private(tmp_path: Path) -> None:
    """Contents are for the owner only."""
    store = FileStore(str(tmp_path / "store"))
    store.put(digest(b"x"), b"x")
    for path in (tmp_path / "store", tmp_path / "store" / "blobs"):
        assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "store" / "blobs" / digest(b"x")).stat().st_mode & 0o077 == 0


def test_files_in_folders_do_not_leak_descriptors(machine: Machine) -> None:
    """Many folders, placed and removed and refused: as many open files as before."""
    (machine.home / "link").symlink_to("/")
    before = len(os.listdir("/dev/fd"))
    machine.place({f"/root/d{n}/e/f": b"x" for n in range(50)})
    machine.place({})
    with pytest.raises(FileStoreError):
        machine.place({"/root/link/a": b"x"})
    assert len(os.listdir("/dev/fd")) == before
    assert filestore.REMOTE_ROOT == "/root"
