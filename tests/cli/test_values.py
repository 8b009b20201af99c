"""What may be written for a value on the command line, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from byoc.cli import values
from byoc.errors import InvalidError
from byoc.resources import GpuRequest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("5m", 300), ("2h", 7200), ("1.5h", 5400), ("0", 0), (" 7 s ", 7)],
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, or a number with a unit."""
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "mib"),
    [("512", 512), ("512MiB", 512), ("16GiB", 16384), ("1TiB", 1 << 20), ("0.5 gib", 512)],
)
def test_sizes(text: str, mib: int) -> None:
    """MiB, or a number with a binary unit in any case."""
    assert values.size(text) == mib


@pytest.mark.parametrize(("text", "cores"), [("1", 1.0), ("0.125", 0.125), ("8", 8.0)])
def test_cores(text: str, cores: float) -> None:
    """Any positive number of cores."""
    assert values.cores(text) == cores


def test_gpus_are_fallbacks_in_order() -> None:
    """A comma list and repeated options mean the same: choices, best first."""
    expected = (GpuRequest("H100", 8), GpuRequest("A100-80GB"), GpuRequest("any"))
    assert values.gpus(["h100:8,A100-80GB", "any"]) == expected


def test_names_are_flattened() -> None:
    """Clouds and regions may be repeated, listed, or both."""
    assert values.names(["aws, gcp", "oci"]) == ("aws", "gcp", "oci")


def test_environment_takes_values_and_names() -> None:
    """K=V is taken as it stands, an empty value too; K alone passes the caller's own."""
    given = ["A=1", "B=x=y", "C=", "D"]
    assert values.environment(given, {"D": "mine"}) == {"A": "1", "B": "x=y", "C": "", "D": "mine"}


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        *((values.duration, text) for text in ("", "s", "-1", "5d", "1h30m", "five", "1e3", "nan")),
        *((values.size, text) for text in ("", "16GB", "16G", "0", "-1", "GiB", "1 MB")),
        *((values.cores, text) for text in ("", "0", "-2", "inf", "nan", "two")),
        *((values.gpus, [text]) for text in ("", ",", "H100:", "H100:0", "H100:17", ":8")),
        *((values.names, [text]) for text in ("", " , ")),
    ],
)
def test_wrong_values_are_refused(parse: Callable[[Any], Any], value: Any) -> None:
    """Every other text is an InvalidError with a message, never another exception."""
    with pytest.raises(InvalidError) as caught:
        parse(value)
    assert caught.value.message


@pytest.mark.parametrize("text", ["1A=x", "A-B=1", "=x", "", "NOT_SET"])
def test_wrong_variables_are_refused(text: str) -> None:
    """A name that no shell could set, or one that is not set here, is refused with a hint."""
    with pytest.raises(InvalidError) as caught:
        values.environment([text], {})
    assert caught.value.hints


def test_numbers_of_nodes() -> None:
    """From one to as many instances as may live at once."""
    assert [values.nodes(text) for text in ("1", " 8 ", "64")] == [1, 8, 64]
    for text in ("0", "65", "-1", "two", "1.5", ""):
        with pytest.raises(InvalidError, match="1 to 64"):
            values.nodes(text)
