"""Errors become words, hints and exit codes, each in one place."""

from __future__ import annotations

import stat
from pathlib import Path
from types import TracebackType

import pytest

from byoc import errors
from byoc.cli import failure
from byoc.cli.console import Console


class Page:
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reader_gone = False
        self.as_json = False

    def plain(self, text: str) -> None:
        self.lines += text.splitlines()

    def error(self, text: str) -> None:
        self.lines.append(f"error: {text}")

    def hint(self, text: str) -> None:
        self.lines.append(f"hint: {text}")


@pytest.fixture
def page() -> Page:
    """A fresh page."""
    return Page()


def as_console(page: Page) -> Console:
    """The page, where a console is asked for."""
    return page  # type: ignore[return-value]


def every_class() -> list[type[errors.Error]]:
    """All of byoc's error classes."""
    found = [errors.Error]
    for one in found:
        found += [sub for sub in one.__subclasses__() if sub not in found]
    return found


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidError, 2),
        (errors.NotYetError, 2),
        (errors.SettingsError, 2),
        (errors.NotFoundError, 2),
        (errors.PlacementError, 3),
        (errors.CapacityError, 3),
        (errors.QuotaError, 3),
        (errors.AccessError, 4),
        (errors.TransientError, 4),
        (errors.BootError, 4),
        (errors.HostKeyError, 4),
        (errors.ConnectionLostError, 4),
        (errors.ImageBuildError, 5),
        (errors.BudgetError, 6),
        (errors.StateError, 7),
        (errors.Error, 7),
        (errors.FunctionTimeoutError, 1),
        (errors.ContainerError, 1),
        (errors.SerializationError, 1),
    ],
)
def test_exit_codes(kind: type[errors.Error], code: int) -> None:
    """Each class of error has the exit code that the documentation names."""
    assert failure.exit_code(kind("x")) == code


def test_every_error_has_an_exit_code_and_a_report(page: Page) -> None:
    """No class of error is without words or falls out of the table by accident."""
    for kind in every_class():
        code = failure.report(kind("what went wrong"), as_console(page))
        assert 1 <= code <= 7
        assert page.lines[-1] == "error: what went wrong"


def test_a_command_that_cannot_start_exits_as_in_a_shell() -> None:
    """A missing program is 127."""
    error = errors.ContainerError("no such program", reason="start", exit_code=127)
    assert failure.exit_code(error) == 127


def test_causes_come_before_what_was_done_and_the_hints(page: Page) -> None:
    """Message, causes, what byoc did, hints of the whole chain: in this order, each hint once."""
    cause = errors.TransientError("the cloud did not answer", hints=("wait", "ask again"))
    cause.__cause__ = OSError("reset by peer")
    error = errors.BootError("it did not boot", hints=("ask again",), done="ended the instance")
    error.__cause__ = cause
    failure.report(error, as_console(page))
    assert page.lines == [
        "error: it did not boot",
        "  caused by: the cloud did not answer",
        "  caused by: OSError: reset by peer",
        "  ended the instance",
        "hint: ask again",
        "hint: wait",
    ]


def test_the_end_of_a_build_log_is_shown(page: Page) -> None:
    """A failed build carries the end of its log."""
    failure.report(errors.ImageBuildError("step 2 failed", log="one\ntwo\n"), as_console(page))
    assert page.lines == ["error: step 2 failed", "  one", "  two"]


def raised(source: str, filename: str) -> BaseException:
    """The exception that ``source`` raises, as if it stood in ``filename``."""
    space: dict[str, object] = {"errors": errors}
    try:
        exec(compile(source, filename, "exec"), space)
    except Exception as error:  # noqa: BLE001 - whatever the source raises is what is wanted
        error.__traceback__ = _without_first(error.__traceback__)
        return error
    raise AssertionError("it raised nothing")


def _without_first(trace: TracebackType | None) -> TracebackType | None:
    return trace.tb_next if trace else None


def ours(name: str) -> str:
    """The path of a file of byoc."""
    return str(Path(errors.__file__).parent / name)


def test_tracebacks_show_no_frame_of_ours(page: Page) -> None:
    """Frames of byoc and of its agent are left out; the user's, here and remote, stay."""
    user = raised("1 / 0", "/home/u/train.py")
    for filename in (ours("sdk/function.py"), "<ta-1>:byoc/container/worker.py"):
        link = raised("raise ValueError", filename)
        assert link.__traceback__ is not None
        link.__traceback__.tb_next = user.__traceback__
        user.__traceback__ = link.__traceback__
    assert failure.report_program(user, as_console(page)) == 1
    assert page.lines[0] == "Traceback (most recent call last):"
    assert 'File "/home/u/train.py", line 1' in page.lines[1]
    assert page.lines[-1] == "ZeroDivisionError: division by zero"
    assert not [line for line in page.lines if "byoc" in line]


def test_an_exception_without_frames_has_no_empty_heading(page: Page) -> None:
    """What has no frame of the user's is shown by its last line alone."""
    failure.report_program(KeyError("key"), as_console(page))
    assert page.lines == ["KeyError: 'key'"]


def test_a_program_written_for_modal_is_told_what_to_write(page: Page) -> None:
    """The first line that fails is the import; byoc has the names behind it."""
    error = raised("import modal", "/home/u/train.py")
    assert failure.report_program(error, as_console(page)) == 1
    assert "import byoc as modal" in page.lines[-1]


def test_notes_and_causes_of_the_users_exception_are_kept(page: Page) -> None:
    """``add_note`` and ``raise from`` appear as Python shows them."""
    error = raised("raise KeyError('k')", "/home/u/a.py")
    error.__cause__ = raised("raise OSError('disk')", "/home/u/b.py")
    error.__notes__ = ["look here"]  # type: ignore[attr-defined]
    failure.report_program(error, as_console(page))
    text = "\n".join(page.lines)
    assert "OSError: disk" in text and "direct cause" in text and "KeyError: 'k'" in text


def test_misuse_names_the_users_line(page: Page) -> None:
    """An error that a line of the program is to blame for says which."""
    error = raised("raise errors.InvalidError('gpu is wrong')", "/home/u/train.py")
    assert isinstance(error, errors.Error)
    failure.report(error, as_console(page))
    assert page.lines == ["error: gpu is wrong", "  at /home/u/train.py, line 1"]


@pytest.mark.parametrize(
    ("filename", "function", "bug"),
    [
        (ours("engine/pool.py"), "pump", True),
        (ours("fleet/core.py"), "acquire", True),
        (ours("engine/results.py"), "failure_of", True),
        (ours("engine/results.py"), "value_of", False),
        (ours("sdk/function.py"), "remote", False),
        ("/home/u/train.py", "main", False),
        ("<ta-1>:/root/train.py", "train", False),
    ],
)
def test_bugs_are_told_from_the_users_errors(filename: str, function: str, bug: bool) -> None:
    """A builtin exception is ours when it came out of a place that never raises one on purpose."""
    error = raised(f"def {function}():\n    {{}}['k']\n{function}()", filename)
    assert failure.is_bug(error) is bug


def test_a_bug_is_kept_whole_in_a_private_file(page: Page, tmp_path: Path) -> None:
    """The terminal gets the last frames; the file has everything and nobody else may read it."""
    source = "def f(n):\n    return f(n - 1) if n else {}['k']\nf(20)"
    error = raised(source, ours("engine/pool.py"))
    for number in (1, 2):
        assert failure.report_internal(error, as_console(page), tmp_path / "logs") == 7
        path = tmp_path / "logs" / f"internal-error-{number}.log"
        assert path.read_text().count("in f\n") >= 3
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = [line for line in page.lines if line.startswith("  File")]
    assert len(shown) <= 2 * 6
    assert page.lines[0] == "error: internal error: KeyError: 'k'"


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (0, 0), (3, 3), (256, 0), (-1, 255), ("bye", 1)]
)
def test_sys_exit_means_what_python_says(page: Page, error: object, code: int) -> None:
    """``sys.exit`` in the user's program becomes the exit code Python would give it."""
    assert failure.conclude(SystemExit(error), as_console(page), "run", of_program=True) == code
    assert page.lines == (["bye"] if error == "bye" else [])


def test_what_the_program_lets_out_is_known_as_its_own(page: Page) -> None:
    """An exception that left the user's code is reported as the user's, the next one is not."""
    with pytest.raises(KeyError), failure.program():
        raise KeyError("k")
    error = raised("{}['k']", "/home/u/train.py")
    assert failure.conclude(error, as_console(page), "run") == 1
    with failure.program():
        pass
    assert failure._state.in_program is False


def test_as_dict_has_the_same_keys_for_every_error() -> None:
    """Whoever reads the JSON finds code, message, retryable, done and remediation in each error."""
    for error, code in ((errors.BootError("x"), 4), (ValueError("x"), 1), (KeyError("x"), 7)):
        shown = failure.as_dict(error, code)
        assert {"code", "message", "retryable", "done", "remediation"} <= set(shown)
    assert failure.as_dict(KeyError("x"), 7)["code"] == "internal"
    assert failure.as_dict(KeyError("x"), 1)["code"] == "user"


def test_many_reasons_are_lines(page: Page) -> None:
    """A long list of why no offer fits is one reason a line; a short one stays a sentence."""
    reasons = [f"aws/r{n}//t/spot and {n} more: costs ${n} an hour, allowed: $0" for n in range(5)]
    failure.report(
        errors.PlacementError(f"no offer can hold H100: {'; '.join(reasons)}"), as_console(page)
    )
    assert page.lines == ["error: no offer can hold H100", *(f"  {one}" for one in reasons)]
    page.lines.clear()
    failure.report(errors.PlacementError("no offer can hold it: a: b; c: d"), as_console(page))
    assert page.lines == ["error: no offer can hold it: a: b; c: d"]


def test_who_refused_is_told_with_what_their_support_asks_for(page: Page) -> None:
    """Provider, the vendor's code and the request id, also of an error's cause."""
    refusal = errors.QuotaError(
        "too many", provider="aws", vendor_code="VcpuLimitExceeded", request_id="r-1"
    )
    error = errors.InstanceError("no instance")
    error.__cause__ = refusal
    told = "  aws, code VcpuLimitExceeded, request r-1"
    failure.report(refusal, as_console(page))
    assert page.lines == ["error: too many", told]
    page.lines.clear()
    failure.report(error, as_console(page))
    assert page.lines == ["error: no instance", "  caused by: too many", told]
