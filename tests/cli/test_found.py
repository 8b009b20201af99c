"""What audit and reap say of what they found: exit codes, rows, fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.cli import found
from byoc.errors import AccessError, NotFoundError
from byoc.fleet.audit import Auditor, Unasked
from byoc.providers.base import EXPIRES_TAG, OWNER_TAG, RUN_TAG, TOKEN_TAG
from byoc.settings import Settings
from byoc.state import Journal
from tests.fleet.world import FileCloud, HandClock

REFUSED = AccessError("no such key", provider="sim", scope="cloud", hints=("Renew it.",))
CODES = [
    (False, (), 0),
    (True, (), 1),
    (False, (Unasked("sim", "", REFUSED),), 4),
    (True, (Unasked("sim", "", REFUSED),), 1),
]


@pytest.mark.parametrize(("anything", "unasked", "code"), CODES)
def test_exit_codes(anything: bool, unasked: tuple[Unasked, ...], code: int) -> None:
    """Something found is 1, whatever else; nothing is 0 only when everything could be asked."""
    assert found.exit_code(anything, unasked) == code


@pytest.fixture
def auditor(tmp_path: Path) -> Auditor:
    """An auditor of one cloud with one instance by hand, and of one that refuses."""
    clock = HandClock()
    cloud, other = FileCloud(tmp_path / "sim", clock), FileCloud(tmp_path / "aws", clock, "aws")
    journal = Journal.open(tmp_path / "home", clock)
    cloud.forge("own-theirs", "0" * 32)
    other.down = REFUSED
    return Auditor(Settings(tmp_path / "home"), journal, {"sim": cloud, "aws": other}, {}, clock)


def test_a_cloud_that_refuses_is_told_and_hides_nothing(auditor: Auditor) -> None:
    """What another cloud has is found; the one that could not be asked is named with its reason."""
    seen = auditor.look(["sim", "aws"])
    assert [(one.cloud, one.region, one.error) for one in seen.unasked] == [("aws", "", REFUSED)]
    (item,) = seen.items
    told = found.fields(item)
    assert (told["provider"], told["id"], told["kind"]) == ("sim", "forged", "instance")
    assert told["owner"] == "own-theirs" and told["mine"] is False
    assert told["expires"] is None and told["per_day"] == 24.0
    assert len(found.row(item)) == len(found.HEADER)
    assert found.asked(seen)["failed"][0]["error"]["remediation"] == ["Renew it."]


def test_clouds_without_credentials_are_not_asked(auditor: Auditor, tmp_path: Path) -> None:
    """Nothing is asked where nothing says that there is an account; a setting or a file does."""
    assert auditor.clouds() == (["sim"], ["aws"])
    assert auditor.clouds(["aws"]) == (["aws"], [])
    keys = tmp_path / "keys"
    keys.touch()
    for environ in ({"AWS_PROFILE": "x"}, {"AWS_SHARED_CREDENTIALS_FILE": str(keys)}):
        auditor._environ = {"HOME": str(tmp_path), **environ}
        assert auditor.clouds() == (["sim", "aws"], [])
    auditor._environ = {"HOME": str(tmp_path)}
    auditor._settings = Settings(tmp_path, options={"aws.profile": "x"})
    assert auditor.clouds() == (["sim", "aws"], [])


def test_an_unknown_cloud_is_refused(auditor: Auditor) -> None:
    """A misspelt cloud would otherwise look like an empty one."""
    assert found.known(["sim", "sim"], auditor.providers) == ["sim"]
    with pytest.raises(NotFoundError):
        found.known(["asw"], auditor.providers)


def test_tags_of_any_shape_are_shown(auditor: Auditor) -> None:
    """Whatever somebody has written into tags, a row and an object come of it."""
    cloud = auditor.providers["sim"]
    wild = {EXPIRES_TAG: "1e400", RUN_TAG: "\x1b[2J", TOKEN_TAG: "../../passwd", OWNER_TAG: "*"}
    cloud.mark("forged", wild)
    (item,) = auditor.look(["sim"]).items
    assert found.fields(item)["verdict"] == "foreign"
    assert "?[2J" in found.row(item) and "".join(found.row(item)).isprintable()
