"""The shared options: what is given, how it reaches the engine, what is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from byoc.cli import group, names, options, values
from byoc.cli.options import RUN, Common
from byoc.errors import InvalidError
from byoc.resources import GpuRequest
from tests.cli.harness import byoc


def given(*words: str) -> Common:
    """The shared options of ``byoc run`` with these words."""
    context = group.load("run").make_context("byoc run", [*words, "x.py"])
    common: Common = RUN.collect(dict(context.params))["common"]
    return common


def test_nothing_given_is_nothing_said() -> None:
    """Without options nothing overrides what functions and settings say."""
    common = given()
    assert common == Common()
    assert common.flags() == {} and common.words == ()


def test_options_are_spelled_as_they_can_be_typed_again() -> None:
    """The words of a plan parse to the same options."""
    typed = ("--gpu", "H100:8,A100", "--gpu", "L4", "--cpu", "4", "--cloud", "aws,gcp", "--region",
             "us-east-1", "--on-demand", "--max-price", "$9.50", "--exclude", "oci", "--timeout",
             "5m", "--no-keep")  # fmt: skip
    common = given(*typed)
    assert common.words == typed
    assert given(*common.words) == common
    assert common.gpu == (GpuRequest("H100", 8), GpuRequest("A100"), GpuRequest("L4"))
    assert (common.max_price, common.market, common.keep) == (9.5, "on-demand", False)


def test_the_price_and_the_exclusions_reach_the_run() -> None:
    """--max-price overrides the setting; --exclude adds to it, so it is no flag of the settings."""
    common = given("--max-price", "3", "--exclude", "oci,aws/us-*")
    assert common.flags() == {"max_price": 3.0}
    made = common.run_options()
    assert (made.max_price, made.exclude) == (3.0, ("oci", "aws/us-*"))


@pytest.mark.parametrize("text", ["0", "-1", "free", "", "nan", "inf", "$"])
def test_what_is_no_price_is_refused(text: str) -> None:
    """A price is a positive number of dollars."""
    with pytest.raises(InvalidError, match="is not a price"):
        values.dollars(text)


@pytest.mark.parametrize("text", ["us-east-1", "azure/*", "AWS", ""])
def test_a_pattern_that_fits_no_cloud_is_refused(text: str) -> None:
    """A pattern begins with a cloud: one that cannot match anything is a mistake."""
    with pytest.raises(InvalidError):
        values.patterns([text])


@pytest.mark.parametrize("text", ["oci", "aws/us-east-1", "*/*/*/p5*", "?cp/*", "gcp/"])
def test_patterns_are_kept_as_written(text: str) -> None:
    """Placement matches them; here they only have to make sense."""
    assert values.patterns([text]) == (text,)


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", ""])
def test_a_count_is_a_positive_whole_number(text: str) -> None:
    """Zero offers approve nothing."""
    with pytest.raises(InvalidError):
        values.count(text)


@pytest.mark.parametrize(
    ("gpus", "regions", "clouds", "words"),
    [
        (["H10"], [], ["aws"], "did you mean H100"),
        (["H100"], ["us-est-1"], ["aws"], "us-east-1"),
        ([], ["us-east-1"], ["gcp"], "no region 'us-east-1' on gcp"),
        (["TPU-V5"], [], ["aws", "gcp", "oci"], "GPU called 'TPU-V5'"),
    ],
)
def test_names_that_no_cloud_sells_are_refused(
    gpus: list[str], regions: list[str], clouds: list[str], words: str
) -> None:
    """A misspelt GPU or region is found before anything is asked of a cloud."""
    with pytest.raises(InvalidError) as raised:
        names.check([GpuRequest(name) for name in gpus], regions, clouds)
    assert words in " ".join([raised.value.message, *raised.value.hints])


@pytest.mark.parametrize(
    ("gpus", "regions", "clouds"),
    [
        (["H100", "A100", "any", "H100!", "B200+"], ["us-east-1"], ["aws", "gcp"]),
        (["T4", "A10"], [], ["gcp"]),
        (["RTX-3090"], ["anywhere"], ["local"]),
        (["RTX-3090"], [], ["aws", "local"]),
    ],
)
def test_what_may_exist_is_let_through(
    gpus: list[str], regions: list[str], clouds: list[str]
) -> None:
    """This computer alone knows its GPUs; other names are those of the catalogue."""
    names.check([GpuRequest(name) for name in gpus], regions, clouds)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--cloud", "azure", "hello.py"], "there is no cloud 'azure'"),
        (["exec", "--cloud", "aws", "--gpu", "H1000", "--", "true"], "GPU called 'H1000'"),
        (["run", "--exclude", "us-east-1", "hello.py"], "'us-east-1' fits no cloud"),
        (["run", "--max-price", "cheap", "hello.py"], "'cheap' is not a price"),
        (["plan", "--top", "0", "hello.py"], "'0' is not a number"),
        (["plan", "--valid", "soon", "hello.py"], "'soon' is not a duration"),
        (["plan", "-"], "standard input"),
        (["capacity", "H10", "--cloud", "aws"], "GPU called 'H10'"),
        (["capacity", "H100:x"], "is not a GPU"),
        (["apply", "nothing.json"], "cannot be read"),
        (["apply", "hello.py"], "is not JSON"),
        (["check", "--cloud", "azure"], "there is no cloud 'azure'"),
    ],
)
def test_wrong_values_exit_with_two(
    words: list[str], said: str, project: Path, shared_env: dict[str, str]
) -> None:
    """A wrong name or value is wrong usage, told in one sentence, before anything is rented."""
    found = byoc(words, project, shared_env)
    assert found.code == 2, found
    assert said in found.err and "Traceback" not in found.err


def test_each_command_takes_its_part_of_the_options() -> None:
    """A plan has no --dry-run of its own, and a look at capacity no --timeout."""
    tables: list[tuple[Any, set[str]]] = [
        (options.PLAN, {"detach", "dry_run", "verbose"}),
        (options.PLACE, {"gpu", "timeout", "idle", "keep", "detach", "dry_run"}),
    ]
    for shared, missing in tables:
        assert not missing & set(shared.table)
    assert set(RUN.table) == set(Common._fields) - {"words"}
