"""The lock that keeps an instance in one pair of hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from byoc.errors import StateError
from byoc.fleet import locks
from byoc.fleet.locks import UseLock, alive, holder, key_of
from byoc.providers.base import TOKEN_TAG, Instance
from tests.fleet.world import offer
from tests.helpers import until


def test_second_taker_gets_none_until_release(tmp_path: Path) -> None:
    """The lock excludes, also within one process, and is free again after its release."""
    first = UseLock.take(tmp_path, "t")
    assert first is not None
    assert UseLock.take(tmp_path, "t") is None
    first.release()
    second = UseLock.take(tmp_path, "t")
    assert second is not None
    first.release()
    assert UseLock.take(tmp_path, "t") is None


def test_removed_lock_is_made_anew(tmp_path: Path) -> None:
    """After a release with removal, the next taker locks the new file, not a removed one."""
    first = UseLock.take(tmp_path, "t")
    assert first is not None
    first.release(remove=True)
    assert not (tmp_path / "locks" / "t").exists()
    assert UseLock.take(tmp_path, "t") is not None
    assert (tmp_path / "locks" / "t").exists()


def test_lock_removed_while_another_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened the file just before it was removed gets the new file's lock, so that a third
    one cannot hold a lock of the same name."""
    first = UseLock.take(tmp_path, "t")
    assert first is not None
    really = locks._lock

    def remove_before(fd: int) -> bool:
        first.release(remove=True)
        return really(fd)

    monkeypatch.setattr(locks, "_lock", remove_before)
    assert UseLock.take(tmp_path, "t") is not None
    assert UseLock.take(tmp_path, "t") is None


def test_holder_is_told_without_disturbing(tmp_path: Path) -> None:
    """Who holds it is known from the file; nobody does after the release or for a dead process."""
    assert holder(tmp_path, "t") == 0
    lock = UseLock.take(tmp_path, "t")
    assert lock is not None
    assert holder(tmp_path, "t") == os.getpid()
    lock.release()
    assert holder(tmp_path, "t") == 0
    (tmp_path / "locks" / "t").write_text(str(2**22 + 1))
    assert holder(tmp_path, "t") == 0
    (tmp_path / "locks" / "t").write_text("torn")
    assert holder(tmp_path, "t") == 0


def test_holder_on_another_computer_counts_as_alive(tmp_path: Path) -> None:
    """A data folder that was copied, or is shared, says nothing about processes elsewhere."""
    lock = UseLock.take(tmp_path, "t")
    assert lock is not None
    dead = 2**22 + 1
    (tmp_path / "locks" / "t").write_text(f"{dead} another-computer")
    assert holder(tmp_path, "t") == dead
    (tmp_path / "locks" / "t").write_text(f"{dead} {os.uname().nodename}")
    assert holder(tmp_path, "t") == 0


def test_lock_folder_is_private(tmp_path: Path) -> None:
    """Folder 0700, file 0600."""
    assert UseLock.take(tmp_path / "home", "t") is not None
    assert (tmp_path / "home" / "locks").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home" / "locks" / "t").stat().st_mode & 0o777 == 0o600


def test_unusable_folder_is_a_state_error(tmp_path: Path) -> None:
    """A data folder that is a file is reported with a hint."""
    (tmp_path / "home").write_text("")
    with pytest.raises(StateError) as caught:
        UseLock.take(tmp_path / "home", "t")
    assert caught.value.hints


def test_key_is_the_token_or_derived_from_the_id() -> None:
    """The launch token names the lock; an instance without one still has a stable name."""
    one = Instance("sim", "i-1", "running", offer(), {TOKEN_TAG: "abc"})
    bare = Instance("sim", "i-1", "running", offer(), {})
    assert key_of(one) == "abc"
    assert key_of(bare) == key_of(bare)
    assert key_of(bare) != key_of(Instance("sim", "i-2", "running", offer(), {}))


def test_alive() -> None:
    """This process is alive; a number above the largest process id is not."""
    assert alive(os.getpid())
    assert not alive(2**22 + 1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells")
def test_a_process_that_nobody_has_asked_about_is_dead() -> None:
    """A killed client whose parent does not look, as in a container without an init, holds
    nothing."""
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        assert until(lambda: not alive(child), 5, "the child to have ended")
        os.kill(child, 0)  # its number is still taken
    finally:
        os.waitpid(child, 0)
    assert alive(os.getpid())
