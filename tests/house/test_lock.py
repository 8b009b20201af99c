"""requirements.lock fits pyproject.toml, and pins every file by its hash."""

from __future__ import annotations

import re
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers import ROOT
from tools.bootstrap import lock_entry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = re.findall(r"^([^ \n]+==\S+)(.*)\\\n((?: {4}--hash=.*\n)+)", LOCK, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAX_DISTRIBUTIONS = 20
"""The promise on the base install, byoc included and uv, which is a program, left out."""


def locked() -> dict[str, list[Requirement]]:
    """The entries of the lock by name; a name has several where a version depends on the Python."""
    found: dict[str, list[Requirement]] = {}
    for pin, marker, _ in ENTRIES:
        requirement = Requirement(pin + marker)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def declared() -> list[Requirement]:
    """What pyproject.toml asks for, to use byoc and to develop it."""
    words = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    return [Requirement(word) for word in words]


def test_everything_that_is_declared_is_locked_at_a_fitting_version() -> None:
    """A changed dependency needs a new lock: ./scripts/lock."""
    pins = locked()
    for wanted in declared():
        for pin in pins[canonicalize_name(wanted.name)]:
            (version,) = (specifier.version for specifier in pin.specifier)
            assert wanted.specifier.contains(version), f"{pin} does not fit {wanted}"


def test_every_entry_is_pinned_by_hashes_and_names_no_address() -> None:
    """The lock consists of exact versions and SHA-256 hashes: no address, no option, no comment."""
    entries = "".join("".join(entry[:2]) + "\\\n" + entry[2] for entry in ENTRIES)
    assert entries == LOCK
    assert all(re.fullmatch(r"( {4}--hash=sha256:[0-9a-f]{64}( \\)?\n)+", e[2]) for e in ENTRIES)


def test_every_python_and_platform_gets_one_version() -> None:
    """On each supported Python exactly one entry of a name applies, on Linux and on macOS."""
    for platform in ("linux", "darwin"):
        for minor in range(10, 14):
            place = {
                "python_version": f"3.{minor}",
                "python_full_version": f"3.{minor}.1",
                "sys_platform": platform,
                "platform_python_implementation": "CPython",
                "implementation_name": "cpython",
            }
            for name, pins in locked().items():
                fits = [p for p in pins if p.marker is None or p.marker.evaluate(place)]
                assert len(fits) <= 1, f"{name} on {platform}, 3.{minor}: {fits}"


def test_the_entry_of_one_package_can_be_cut_out() -> None:
    """The set-up installs uv from its entry alone, with all of its hashes."""
    entry = lock_entry(ROOT / "requirements.lock", "uv")
    assert entry.startswith("uv==")
    assert entry in LOCK
    assert entry.count("--hash=") == len(entry.splitlines()) - 1 > 1
