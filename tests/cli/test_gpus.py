"""``byoc gpus``: what each GPU costs where, from the packaged catalogue alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.state import Attempt, Journal
from tests.cli.harness import Said, byoc, environment

GOLDEN = list(
    csv.DictReader(
        (Path(__file__).parents[1] / "pricing" / "golden.csv").read_text().splitlines(), strict=True
    )
)


Run = Callable[..., Said]


@pytest.fixture
def gpus(tmp_path: Path) -> Run:
    """Runs ``byoc gpus``; the data folder is ``tmp_path / "home"`` and not made yet."""

    def run(*args: str) -> Said:
        return byoc(["gpus", *args], tmp_path, environment(tmp_path / "home"))

    return run


def told(said: Said) -> list[dict[str, Any]]:
    """The GPUs of ``--json``."""
    assert said.code == 0, said
    found: list[dict[str, Any]] = json.loads(said.out)["gpus"]
    return found


@pytest.mark.parametrize("count", ["1", "2", "4", "8"])
def test_the_golden_table_is_what_it_tells(gpus: Run, count: str) -> None:
    """The cheapest offer of every GPU, number, cloud and market is the researched one."""
    found = {one["gpu"]: one for one in told(gpus("--json", "--count", count))}
    rows = [row for row in GOLDEN if row["count"] == count]
    assert rows
    for row in rows:
        market = row["market"].replace("_", "-")
        (best,) = [
            offer
            for offer in found[row["gpu"]]["offers"]
            if (offer["cloud"], offer["market"]) == (row["cloud"], market)
        ]
        assert best["price"] == pytest.approx(float(row["usd_h"]), abs=1e-4), row
        assert best["exact"] is (row["match"] == "exact")
        assert best["per_gpu_hour"] == pytest.approx(float(row["usd_h"]) / int(count), abs=1e-4)
        assert (best["region"], best["type"]) == (row["region"], row["instance_type"])
        assert best["price_date"] and best["price_source"]


def test_filters_hold_together(gpus: Run) -> None:
    """Cloud, region, market and number narrow what is told of a GPU."""
    args = ("H100:8", "--cloud", "aws", "--region", "us-east-2", "--spot")
    (one,) = told(gpus("--json", *args))
    (offer,) = one["offers"]
    assert offer["key"] == "aws/us-east-2//p5.48xlarge/spot"
    assert one["count"] == 8 and one["modal"]["source"]


def test_what_was_met_is_told(gpus: Run, tmp_path: Path) -> None:
    """An offer that this installation was refused, or had, says so; its data folder is not made
    by looking."""
    args = ("H100:8", "--spot", "--cloud", "aws")
    assert all(offer["last"] is None for offer in told(gpus("--json", *args))[0]["offers"])
    assert not (tmp_path / "home").exists()
    journal = Journal.open(tmp_path / "home", SYSTEM)
    now = SYSTEM.wall()
    for seq, (region, outcome) in enumerate((("us-east-2", "refused"), ("us-west-2", "ok"))):
        key = f"aws/{region}/{region}a/p5.48xlarge/spot"
        journal.open_attempt("run-1", "aws", key, now - 60)
        journal.close_attempt(
            Attempt("run-1", seq + 1, "aws", key, now - 60, outcome, code="Insufficient")
        )
    journal.close()
    last = {offer["region"]: offer["last"] for offer in told(gpus("--json", *args))[0]["offers"]}
    assert last["us-east-2"]["outcome"] == "refused" and last["us-west-2"]["outcome"] == "had"
    assert last["eu-west-2"] is None
    assert "s ago (Insufficient)" in gpus(*args).out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["H10"], "did you mean H100"),
        (["H100", "--cloud", "azure"], "there is no cloud 'azure'"),
        (["H100", "--region", "us-est-1"], "there is no region 'us-est-1'"),
        (["--sort", "size"], "there is no order 'size'"),
        (["H100:0"], "the count must be between"),
    ],
)
def test_wrong_input_is_refused(gpus: Run, args: list[str], said: str) -> None:
    """What cannot be meant is told with what could be, and exits with 2."""
    done = gpus(*args)
    assert done.code == 2 and said in done.err


def test_nothing_sold_is_no(gpus: Run) -> None:
    """A GPU that is sold, but not so many in one host, exits with 1."""
    done = gpus("T4G:8")
    assert done.code == 1 and "nothing of this is sold" in done.err


def test_dear_minimums_are_told(gpus: Run) -> None:
    """An hour that is billed at least stands beside the price."""
    assert "at least 60 min billed" in gpus("H100:8", "--cloud", "oci").out


def test_orders(gpus: Run) -> None:
    """GPUs come by name or memory when that is asked for."""
    names = [one["gpu"] for one in told(gpus("--json", "--sort", "name"))]
    assert names == sorted(names)
    sizes = [one["memory"] for one in told(gpus("--json", "--sort", "memory"))]
    assert sizes == sorted(sizes, reverse=True)
