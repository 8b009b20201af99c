"""Bringing cloud-init for the tests: into a folder of its own, checked, and never a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import cloud_init


def test_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing may be fetched that is said, and nothing is there afterwards."""
    monkeypatch.setenv("SETUP_NO_APT", "1")
    cloud_init.main(tmp_path / "none")
    assert "are skipped" in capsys.readouterr().out
    assert cloud_init.found(tmp_path / "none") == []


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    """Both versions there: nothing is asked, and each is found with its version."""
    for place, version in (("own", "22.4.2"), ("newer", cloud_init.NEWER)):
        file = tmp_path / place / "usr/lib/python3/dist-packages/cloudinit/version.py"
        file.parent.mkdir(parents=True)
        file.write_text(f'import x\n__VERSION__ = "{version}"\n')
    (tmp_path / "libraries").mkdir()
    cloud_init.main(tmp_path)
    assert [one.version for one in cloud_init.found(tmp_path)] == ["22.4.2", cloud_init.NEWER]


def test_another_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A download that is not the package that was expected is not unpacked."""
    other = tmp_path / "other.deb"
    other.write_bytes(b"!<arch>\n")
    monkeypatch.setattr(cloud_init, "NEWER_URL", other.as_uri())
    assert not cloud_init._newer(tmp_path, tmp_path)
    assert "not the package that was expected" in capsys.readouterr().out
    assert not (tmp_path / "newer").exists()
