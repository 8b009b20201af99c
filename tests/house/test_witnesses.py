"""The environments of independent clients: locked, and made anew when a lock changes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tools import witnesses


@pytest.mark.parametrize("name", witnesses.WITNESSES)
def test_every_witness_is_locked_with_hashes(name: str) -> None:
    """A lock holds the wanted version and nothing but exact versions with SHA-256 hashes."""
    text = (witnesses.LOCKS / f"{name}.txt").read_text()
    entries = re.findall(r"^(\S+==\S+)[^\n]*\\\n((?: {4}--hash=.*\n)+)", text, re.MULTILINE)
    assert witnesses.WITNESSES[name][0] in [pin for pin, _ in entries]
    hashes = [line for _, lines in entries for line in lines.splitlines()]
    assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)
    assert len(text.splitlines()) == len(entries) + len(hashes)


def test_a_witness_is_ready_only_with_todays_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment counts once it is complete, and no more after its lock has changed."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert witnesses.program("aws", of="awscli") is None
    home = witnesses.home("awscli")
    home.mkdir(parents=True)
    (home / witnesses.READY).write_text("an older lock")
    assert not witnesses.ready("awscli")
    lock = (witnesses.LOCKS / "awscli.txt").read_text()
    (home / witnesses.READY).write_text(sys.version + "\n" + lock)
    assert witnesses.program("aws", of="awscli") == home / "bin" / "aws"


def test_wrong_words_are_refused() -> None:
    """The tool says how it is used, and makes nothing."""
    line = [sys.executable, str(ROOT / "tools" / "witnesses.py"), "--upgrade"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--lock" in done.stderr
