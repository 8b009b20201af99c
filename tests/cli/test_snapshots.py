"""Everything a user can be told without an instance, as snapshots of stdout, stderr, exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.harness import byoc, compare

HELP = ["run", "exec", "plan", "apply", "ps", "logs", "down", "audit", "reap", "ssh", "why",
        "capacity", "check", "iam", "config", "prices"]  # fmt: skip

CASES: dict[str, list[str]] = {
    "bare": [],
    "help": ["--help"],
    "version": ["--version"],
    **{f"help-{name}": [name, "--help"] for name in HELP},
    # what is not there
    "unknown-command": ["rnu"],
    "later-command": ["deploy", "app.py"],
    "unknown-option": ["--verison"],
    "unknown-run-option": ["run", "--gpus", "H100", "hello.py"],
    "run-without-file": ["run"],
    "option-without-value": ["run", "--gpu"],
    "exec-without-command": ["exec"],
    # references
    "no-file": ["run", "nothing.py"],
    "near-file": ["run", "helo.py"],
    "no-folder": ["run", "there/hello.py"],
    "folder": ["run", "pack"],
    "one-colon": ["run", "hello.py:main"],
    "empty-name": ["run", "hello.py::"],
    "module-as-file": ["run", "pack.part"],
    "file-as-module": ["run", "-m", "hello.py"],
    "no-module": ["run", "-m", "nothing.at.all"],
    "not-python": ["run", "data.txt"],
    "hides-a-module": ["run", "json.py"],
    "relative-import": ["run", "pack/part.py"],
    # what is in the file
    "no-app": ["run", "noapp.py"],
    "nothing-to-run": ["run", "empty.py"],
    "several": ["run", "two.py"],
    "several-help": ["run", "two.py", "--help"],
    "no-such-name": ["run", "hello.py::zzz"],
    "near-name": ["run", "hello.py::sqare"],
    "ordinary-function": ["run", "hello.py::helper"],
    "generator": ["run", "hello.py::numbers"],
    "the-app-itself": ["run", "hello.py::app"],
    # its arguments
    "entry-help": ["run", "hello.py", "--help"],
    "entry-missing": ["run", "hello.py"],
    "entry-wrong-type": ["run", "hello.py", "--n", "x"],
    "entry-wrong-choice": ["run", "hello.py", "--n", "1", "--mode", "c"],
    "entry-unknown": ["run", "hello.py", "--n", "1", "--nmae", "y"],
    "entry-extra": ["run", "hello.py", "--n", "1", "more"],
    "entry-annotation": ["run", "odd.py::listed"],
    "entry-keywords": ["run", "odd.py::keywords"],
    # the user's own mistakes
    "syntax-error": ["run", "broken.py"],
    "raises-at-import": ["run", "raises.py"],
    "missing-import": ["run", "missing.py"],
    "wrong-declaration": ["run", "wrong.py"],
    "quits-at-import": ["run", "quits.py"],
    # values
    "bad-gpu": ["run", "--gpu", "H100:x", "hello.py"],
    "bad-gpu-count": ["run", "--gpu", "H100:99", "hello.py"],
    "empty-gpu": ["run", "--gpu", "", "hello.py"],
    "bad-cpu": ["run", "--cpu", "many", "hello.py"],
    "bad-memory": ["run", "--memory", "16GB", "hello.py"],
    "no-memory": ["run", "--memory", "0", "hello.py"],
    "bad-timeout": ["run", "--timeout", "soon", "hello.py"],
    "bad-idle": ["exec", "--idle", "-5", "--", "true"],
    "empty-cloud": ["run", "--cloud", ",", "hello.py"],
    "bad-variable": ["exec", "--env", "1X=2", "--", "true"],
    "unset-variable": ["exec", "-e", "BYOC_TEST_IS_NOT_SET_HERE", "--", "true"],
    "cwd-outside": ["exec", "--cwd", "../x", "--", "true"],
    "artifacts-outside": ["exec", "--artifacts", "/etc/*", "--", "true"],
    "detached-stdin": ["run", "--detach", "-"],
    # nothing there yet
    "ps-nothing": ["ps"],
    "down-unsaid": ["down"],
    "down-unknown": ["down", "local-nothing"],
    "down-nothing": ["down", "--all"],
    "why-nothing": ["why"],
    "why-unknown": ["why", "run-nothing"],
    "logs-nothing": ["logs"],
    "ssh-nothing": ["ssh"],
    "ssh-too-much": ["ssh", "one", "two"],
    "check-unknown": ["check", "azure"],
    # as data
    "json-usage": ["ps", "--json", "--bogus"],
    "json-invalid": ["run", "--json", "--cpu", "x", "hello.py"],
    "json-user-error": ["run", "--json", "raises.py"],
    "json-entry": ["run", "--json", "hello.py", "--n", "x"],
    "json-ps": ["ps", "--json"],
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name: str, project: Path, shared_env: dict[str, str]) -> None:
    """Stdout, stderr and exit code are what the snapshot holds."""
    said = byoc(CASES[name], project, shared_env)
    home = shared_env["BYOC_HOME"]
    compare(name, said, {str(project): "[PROJECT]", home: "[HOME]", "/private[": "["})


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("json-")])
def test_json_is_one_object(name: str, project: Path, shared_env: dict[str, str]) -> None:
    """With --json, stdout is exactly one JSON object, whose exit code is the real one."""
    said = byoc(CASES[name], project, shared_env)
    shown = json.loads(said.out)
    assert shown["schema_version"] == 1
    assert shown["exit_code"] == said.code
    assert shown["ok"] is (said.code == 0)


def test_settings_are_named_with_their_place(project: Path, shared_env: dict[str, str]) -> None:
    """A wrong setting is reported with where it stands, and exits with 2."""
    said = byoc(["config"], project, shared_env | {"BYOC_IDLE": "soon"})
    assert said.code == 2
    assert "BYOC_IDLE" in said.err and said.out == ""


def test_config_tells_where_values_come_from(project: Path, shared_env: dict[str, str]) -> None:
    """A value from the environment is shown with its variable."""
    said = byoc(["config", "--json"], project, shared_env | {"BYOC_IDLE": "5m"})
    shown = json.loads(said.out)["settings"]
    assert shown["idle"] == {"value": 300.0, "origin": "BYOC_IDLE"}
    assert shown["lease"]["origin"] == "default"
    assert shown["aws.profile"] == {"value": None, "origin": "default"}


def test_dry_run_shows_the_ladder(project: Path, shared_env: dict[str, str]) -> None:
    """--dry-run names each function, what it asks for and the offers, and launches nothing."""
    said = byoc(["run", "--dry-run", "--cpu", "1", "hello.py", "--n", "1"], project, shared_env)
    assert said.code == 0, said.err
    assert "square: 1 CPU, 128 MiB" in said.out
    assert "\n  1  $0.00/h  " in said.out and "  local host  host  this computer" in said.out
    assert byoc(["ps", "--json"], project, shared_env).out.count('"instances": []') == 1


def test_no_offer_has_its_own_exit_code(project: Path, shared_env: dict[str, str]) -> None:
    """A request that nothing can hold exits with 3 and says why."""
    said = byoc(
        ["run", "--dry-run", "--memory", "900TiB", "hello.py", "--n", "1"], project, shared_env
    )
    assert said.code == 3
    assert said.err.startswith("error: ") and "MiB" in said.err


def test_a_plain_file_is_not_imported_here(project: Path, shared_env: dict[str, str]) -> None:
    """A script that declares no app is never executed on the client."""
    said = byoc(["run", "--dry-run", "plain.py"], project, shared_env)
    assert said.code == 0, said.err
    assert "plain: " in said.out and "\nplain\n" not in said.out


def test_an_empty_folder_is_told(tmp_path: Path, shared_env: dict[str, str]) -> None:
    """A file that is missing where no program is: the folder is named, with what to do."""
    said = byoc(["run", "train.py"], tmp_path, shared_env)
    assert said.code == 2
    assert f"hint: {tmp_path} holds no Python file: cd to your program's folder" in said.err


def test_without_a_gpu_here_each_way_of_asking_is_named(
    project: Path, shared_env: dict[str, str]
) -> None:
    """Whoever asked by --gpu is not told to change the program alone."""
    said = byoc(["run", "--dry-run", "--gpu", "H100", "hello.py", "--n", "1"], project, shared_env)
    assert said.code == 3
    assert "hint: " in said.err and "--gpu" in said.err.partition("hint: ")[2]
