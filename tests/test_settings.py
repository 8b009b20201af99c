"""One merged configuration: which source wins, and what wrong ones say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc import limits
from byoc.errors import SettingsError
from byoc.resources import GpuRequest
from byoc.settings import KEYS, load
from tests.helpers import ROOT


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working folder two levels deep, with a data folder beside it."""
    folder = tmp_path / "project" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "home").mkdir()
    return folder


def environ(place: Path, **more: str) -> dict[str, str]:
    return {"BYOC_HOME": str(place.parent.parent / "home"), **more}


def test_defaults(place: Path) -> None:
    """Without any source: the limits, no cloud, and every origin `default`."""
    found = load(place, environ(place))
    assert (found.idle, found.lease) == (limits.IDLE_WINDOW, limits.LEASE)
    assert (found.clouds, found.used_clouds()) == ((), ("local",))
    assert found.keep is True
    assert {found.origin(key) for key in KEYS if key != "home"} == {"default"}
    assert found.origin("home") == "BYOC_HOME"


def test_each_source_beats_the_one_before(place: Path) -> None:
    """User file < project file < environment < flags, and each origin is told."""
    user = place.parent.parent / "home" / "byoc.toml"
    user.write_text("idle = 1\nlease = 11\ncpu = 1\nmemory = 1000\n")
    project = place.parent / "byoc.toml"
    project.write_text("idle = 2\nlease = 12\ncpu = 2\n")
    found = load(place, environ(place, BYOC_IDLE="3", BYOC_LEASE="13"), {"idle": 4.0, "cpu": None})
    assert (found.idle, found.lease, found.cpu, found.memory) == (4.0, 13.0, 2.0, 1000)
    origins = [found.origin(key) for key in ("idle", "lease", "cpu", "memory")]
    assert origins == ["--idle", "BYOC_LEASE", str(project), str(user)]


def test_nearest_project_file_wins_alone(place: Path) -> None:
    """The search stops at the first folder that has one; outer ones are not merged."""
    (place.parent / "byoc.toml").write_text("idle = 1\nlease = 11\n")
    (place / "byoc.toml").write_text("idle = 2\n")
    found = load(place, environ(place))
    assert (found.idle, found.lease) == (2.0, limits.LEASE)


def test_pyproject_table_is_a_project_file(place: Path) -> None:
    """`[tool.byoc]` counts; a pyproject.toml without one is passed over."""
    (place / "pyproject.toml").write_text('[project]\nname = "x"\nkeywords = ["byoc"]\n')
    (place.parent / "pyproject.toml").write_text('[tool.byoc]\nclouds = ["one", "two"]\n')
    found = load(place, environ(place))
    assert found.clouds == ("one", "two")
    assert found.origin("clouds") == str(place.parent / "pyproject.toml")


def test_byoc_toml_beats_pyproject_in_one_folder(place: Path) -> None:
    """With both in a folder, byoc.toml is the one that is read."""
    (place / "pyproject.toml").write_text("[tool.byoc]\nidle = 1\n")
    (place / "byoc.toml").write_text("idle = 2\n")
    assert load(place, environ(place)).idle == 2.0


def test_keys_may_be_written_with_dashes(place: Path) -> None:
    """`max-price` and `max_price` are the same setting, in files and flags."""
    (place / "byoc.toml").write_text("max-price = 2.5\n")
    assert load(place, environ(place)).max_price == 2.5
    assert load(place, environ(place), {"max-price": 3}).max_price == 3.0


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("idle = '90s'", "idle", 90.0),
        ("idle = '10m'", "idle", 600.0),
        ("timeout = '1h'", "timeout", 3600.0),
        ("idle = 0", "idle", 0.0),
        ("gpu = 'h100:8, any'", "gpu", (GpuRequest("H100", 8), GpuRequest("any"))),
        ("gpu = ['A100', 'T4']", "gpu", (GpuRequest("A100"), GpuRequest("T4"))),
        ("regions = 'a, b'", "regions", ("a", "b")),
        ("market = 'spot'", "market", "spot"),
        ("keep = false", "keep", False),
        ("memory = 2048", "memory", 2048),
    ],
)
def test_values(place: Path, text: str, key: str, value: object) -> None:
    """Files hold natural values: durations, lists, GPU names."""
    (place / "byoc.toml").write_text(text)
    assert getattr(load(place, environ(place)), key) == value


@pytest.mark.parametrize(("text", "value"), [("1", True), ("off", False), ("TRUE", True)])
def test_booleans_of_the_environment(place: Path, text: str, value: bool) -> None:
    """Variables hold the usual words for yes and no."""
    assert load(place, environ(place, BYOC_KEEP=text)).keep is value


@pytest.mark.parametrize(
    "text",
    [
        "idle = 'soon'",
        "idle = -1",
        "idle = true",
        "idle = nan",
        "lease = 0",
        "market = 'cheap'",
        "memory = 1.5",
        "memory = '16GB'",
        "keep = 'perhaps'",
        "clouds = [1]",
        "gpu = 'H100:99'",
        "gpu = 3",
        "max_price = 0",
        "cpu = 'many'",
    ],
)
def test_wrong_values_name_file_and_key(place: Path, text: str) -> None:
    """A value of the wrong type or out of range names where it stands and what it should be."""
    file = place / "byoc.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(place, environ(place))
    assert str(file) in caught.value.message
    assert f"'{text.split(maxsplit=1)[0]}'" in caught.value.message
    assert "must" in caught.value.message or "wrong" in caught.value.message
    assert caught.value.hints


def test_unknown_key_suggests_the_close_one(place: Path) -> None:
    """A misspelt key names the file and the setting that was probably meant."""
    (place / "byoc.toml").write_text("idel = 5\n")
    with pytest.raises(SettingsError, match="no setting 'idel'") as caught:
        load(place, environ(place))
    assert str(place / "byoc.toml") in caught.value.message
    assert caught.value.hints == ("did you mean 'idle'?",)


def test_unknown_key_without_a_close_one_lists_them(place: Path) -> None:
    """When nothing is close, the settings are listed."""
    with pytest.raises(SettingsError) as caught:
        load(place, environ(place), {"zzzz": 1})
    assert "idle" in caught.value.hints[0]


def test_misspelt_variable_is_an_error_others_are_not(place: Path) -> None:
    """`BYOC_IDEL` is a mistake; variables of providers and instances are none of our business."""
    load(place, environ(place, BYOC_LOCAL_ISOLATION="none", BYOC_INSTANCE="i-1", BYOC_IDLE=""))
    with pytest.raises(SettingsError, match="BYOC_IDEL") as caught:
        load(place, environ(place, BYOC_IDEL="5"))
    assert caught.value.hints == ("did you mean BYOC_IDLE?",)


def test_wrong_variable_and_flag_are_named(place: Path) -> None:
    """The message starts with the variable or the flag."""
    with pytest.raises(SettingsError, match=r"^BYOC_IDLE must be a number of seconds"):
        load(place, environ(place, BYOC_IDLE="soon"))
    with pytest.raises(SettingsError, match=r"^--max-price must be"):
        load(place, environ(place), {"max_price": "much"})


def test_broken_toml_names_the_file(place: Path) -> None:
    """A file that is no TOML is named with the reader's reason."""
    (place / "byoc.toml").write_text("idle = = 3")
    with pytest.raises(SettingsError, match="is not TOML"):
        load(place, environ(place))
    (place / "byoc.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not TOML"):
        load(place, environ(place))


def test_tool_byoc_that_is_no_table(place: Path) -> None:
    """`byoc = 3` under `[tool]` is refused."""
    (place / "pyproject.toml").write_text("[tool]\nbyoc = 3\n")
    with pytest.raises(SettingsError, match="must be a table"):
        load(place, environ(place))


def test_home_comes_from_the_variable_only(place: Path) -> None:
    """A file cannot move the data folder it may itself be found in."""
    (place / "byoc.toml").write_text("home = '/elsewhere'\n")
    with pytest.raises(SettingsError, match="'home' cannot be set in a file") as caught:
        load(place, environ(place))
    assert caught.value.hints == ("set BYOC_HOME",)


def test_relative_home_is_under_the_working_folder(place: Path) -> None:
    """A relative BYOC_HOME means the same for every later use, whatever the folder then."""
    assert load(place, {"BYOC_HOME": "data"}).home == place / "data"


def test_home_defaults_to_the_platforms_folder(place: Path) -> None:
    """Without BYOC_HOME the platform says where data goes."""
    found = load(place, {})
    assert found.home.is_absolute()
    assert found.home.name == "byoc"
    assert found.origin("home") == "default"


def test_origin_of_an_unknown_key(place: Path) -> None:
    """`byoc config` of a key that does not exist is an error with a suggestion."""
    with pytest.raises(SettingsError) as caught:
        load(place, environ(place)).origin("leese")
    assert caught.value.hints == ("did you mean 'lease'?",)


def test_loading_is_cheap(place: Path) -> None:
    """With BYOC_HOME and no file, neither platformdirs nor a TOML reader nor difflib is loaded."""
    code = (
        "import sys, pathlib, os; from byoc.settings import load; load(pathlib.Path.cwd(), "
        "os.environ); print([m for m in ('platformdirs', 'tomllib', 'tomli', 'difflib') "
        "if m in sys.modules])"
    )
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **environ(place)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_hedge_is_a_small_whole_number(place: Path) -> None:
    """1 to 8 offers at once; anything else is refused by name."""
    assert load(place, environ(place)).hedge == 1
    assert load(place, environ(place, BYOC_HEDGE="3")).hedge == 3
    for wrong in ("0", "9", "2.5", "many"):
        with pytest.raises(SettingsError, match="BYOC_HEDGE"):
            load(place, environ(place, BYOC_HEDGE=wrong))
