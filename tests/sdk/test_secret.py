"""Secrets: where values come from, and where they never show."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest

from byoc.errors import InvalidError, NotYetError
from byoc.images import recipe
from byoc.sdk.secret import Secret, resolve_all


@pytest.fixture(autouse=True)
def _outside_containers() -> Iterator[None]:
    recipe.set_container_image(None)
    yield
    recipe.set_container_image(None)


def test_from_dict() -> None:
    """Strings are kept, None is left out, later changes of the dict do not count."""
    given: dict[str, str | None] = {"A": "1", "B": None, "EMPTY": ""}
    secret = Secret.from_dict(given)
    given["A"] = "2"
    assert secret.resolve() == {"A": "1", "EMPTY": ""}
    assert Secret.from_dict().resolve() == {}


@pytest.mark.parametrize("bad", [{"A": 1}, {"A": b"x"}, {1: "x"}, {"": "x"}, {"A=B": "x"}, ["A"]])
def test_from_dict_refuses_other_values(bad: object) -> None:
    """Anything that cannot be an environment variable is refused where it is written."""
    with pytest.raises(InvalidError):
        Secret.from_dict(bad)  # type: ignore[arg-type]


def test_refusals_do_not_show_the_value() -> None:
    """The message names the variable and its type, never what it holds."""
    with pytest.raises(InvalidError) as caught:
        Secret.from_dict({"TOKEN": 123456})  # type: ignore[dict-item]
    assert "TOKEN" in str(caught.value) and "123456" not in str(caught.value)
    with pytest.raises(InvalidError) as caught:
        Secret.from_dict({"TOKEN": "hunter2\0"})
    assert "hunter2" not in str(caught.value)


def test_from_local_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The named variables as they were when the secret was made."""
    monkeypatch.setenv("BYOC_T_ONE", "1")
    monkeypatch.setenv("BYOC_T_TWO", "2")
    secret = Secret.from_local_environ(["BYOC_T_ONE", "BYOC_T_TWO"])
    monkeypatch.setenv("BYOC_T_ONE", "changed")
    assert secret.resolve() == {"BYOC_T_ONE": "1", "BYOC_T_TWO": "2"}


def test_from_local_environ_names_what_is_missing() -> None:
    """All missing names at once; a single string is refused with a hint."""
    with pytest.raises(InvalidError, match="BYOC_T_NOPE, BYOC_T_NADA"):
        Secret.from_local_environ(["BYOC_T_NOPE", "BYOC_T_NADA"])
    with pytest.raises(InvalidError) as caught:
        Secret.from_local_environ("HOME")
    assert caught.value.hints == ("write ['HOME']",)


def test_from_local_environ_is_empty_in_a_container() -> None:
    """The same module runs in the container, where nothing needs to be set."""
    recipe.set_container_image("")
    assert Secret.from_local_environ(["BYOC_T_NOPE"]).resolve() == {}


def test_from_dotenv_searches_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the working folder, from a folder, from a file's folder; the nearest file counts."""
    (tmp_path / ".env").write_text("WHERE=top\nFLAG\nQUOTED='a b'\n")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    expected = {"WHERE": "top", "QUOTED": "a b"}
    assert Secret.from_dotenv().resolve() == expected
    assert Secret.from_dotenv(deep).resolve() == expected
    assert Secret.from_dotenv(deep / "script.py").resolve() == expected
    (tmp_path / "a" / ".env").write_text("WHERE=nearer\n")
    assert Secret.from_dotenv().resolve() == {"WHERE": "nearer"}
    (tmp_path / "prod.env").write_text("WHERE=prod\n")
    assert Secret.from_dotenv(filename="prod.env").resolve() == {"WHERE": "prod"}


def test_from_dotenv_is_read_when_needed(tmp_path: Path) -> None:
    """A missing file is an empty secret, and one that appears later counts."""
    secret = Secret.from_dotenv(tmp_path, filename="later.env")
    assert secret.resolve() == {}
    (tmp_path / "later.env").write_text("A=1")
    assert secret.resolve() == {"A": "1"}


def test_from_dotenv_refuses_what_is_no_name_or_cannot_be_read(tmp_path: Path) -> None:
    """Wrong arguments at once; a file that is no text when it is read."""
    for bad in ("a/b", "", 3):
        with pytest.raises(InvalidError):
            Secret.from_dotenv(filename=bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidError):
        Secret.from_dotenv(3)  # type: ignore[arg-type]
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(InvalidError, match=r"\.env"):
        Secret.from_dotenv(tmp_path).resolve()


def test_stored_secrets_come_later() -> None:
    """from_name is refused by name; Secret() says what to use."""
    with pytest.raises(NotYetError, match=r"Secret\.from_name"):
        Secret.from_name("my-secret", required_keys=["A"])
    with pytest.raises(InvalidError) as caught:
        Secret()
    assert "from_dict" in caught.value.hints[0]


def test_repr_shows_names_only() -> None:
    """A secret in a traceback or a log gives nothing away."""
    secret = Secret.from_dict({"TOKEN": "hunter2"})
    assert repr(secret) == "Secret.from_dict(TOKEN)"
    assert "hunter2" not in repr([secret])


def test_pickles_carry_names_and_not_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that holds a secret travels without it; there the environment has the values."""
    secret = Secret.from_dict({"BYOC_T_TOKEN": "hunter2"})
    for data in (pickle.dumps(secret), cloudpickle.dumps(lambda: [secret])):
        assert b"hunter2" not in data
    there = pickle.loads(pickle.dumps(secret))
    assert there.resolve() == {}
    monkeypatch.setenv("BYOC_T_TOKEN", "from the container")
    assert there.resolve() == {"BYOC_T_TOKEN": "from the container"}


def test_copies_keep_their_values() -> None:
    """Copying is not travelling."""
    secret = Secret.from_dict({"A": "1"})
    assert copy.copy(secret).resolve() == copy.deepcopy([secret])[0].resolve() == {"A": "1"}


def test_later_secrets_win() -> None:
    """Of several secrets with one name the later one counts."""
    secrets = [Secret.from_dict({"A": "1", "B": "1"}), Secret.from_dict({"B": "2"})]
    assert resolve_all(secrets) == {"A": "1", "B": "2"}
