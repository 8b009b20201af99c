"""``byoc why``: the story of a run, from its journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from byoc.cli import attempts
from byoc.clock import SYSTEM
from byoc.resources import Offer
from byoc.state import Attempt, InstanceRow, Journal, Run
from tests.cli.harness import byoc

SPOT = "aws/us-east-1/us-east-1a/p5.48xlarge/spot"
OTHER = Offer("gcp", "us-central1", "us-central1-a", "a3-highgpu-8g", "spot", 20.0, 104, 1 << 20)


def noted(env: dict[str, str], status: str = "ok", **fields: Any) -> Journal:
    """A journal with a run that fell through three refusals to an instance."""
    now = SYSTEM.wall()
    journal = Journal.open(Path(env["BYOC_HOME"]), SYSTEM)
    run = Run("run-one", "run", ("byoc", "run", "t.py"), started=now - 60, status=status, **fields)
    journal.put_run(run)
    told = [
        Attempt("run-one", 1, "aws", SPOT, now - 59, "refused", code="InsufficientInstanceCapacity",
                error="capacity", message="We have none in us-east-1a", request_id="req-1",
                scope="offer", seconds=0.4, remembered=now + 170, reason="cheapest",
                step="gone on to the next offer"),
        Attempt("run-one", 2, "aws", SPOT.replace("spot", "on-demand"), now - 58, "refused",
                code="VcpuLimitExceeded", error="quota", message="0 of 0 vCPU", scope="bucket",
                bucket="L-417A185B", request_id="req-2", seconds=0.3, remembered=now - 1,
                hint="ask for more: https://example.org/quota"),
        Attempt("run-one", 3, "gcp", OTHER.key().replace("spot", "on-demand"), now - 57, "failed",
                error="boot", message="not reachable after 300 s", seconds=300.0,
                console="\n".join(f"line {number}" for number in range(30))),
        Attempt("run-one", 4, "gcp", OTHER.key(), now - 5, "ok", instance_id="us-central1-a/b-1",
                seconds=33.0),
    ]  # fmt: skip
    for one in told:
        journal.open_attempt(one.run, one.provider, one.offer, one.at)
        journal.close_attempt(one)
    row = InstanceRow("gcp", "us-central1-a/b-1", OTHER, state="running", token="t0k", host_key="k")
    journal.put_instance(row)
    journal.add_run_instance("run-one", "gcp/us-central1-a/b-1")
    return journal


def test_the_whole_story_is_told(project: Path, own_env: dict[str, str]) -> None:
    """Offers in order with reason, outcome, class, code, words, request, memory, step and hint."""
    noted(own_env).close()
    said = byoc(["why", "run-one"], project, own_env)
    assert said.code == 0, said.err
    text = said.out
    order = [text.index(f"\n  {number}. ") for number in (1, 2, 3, 4)]
    assert order == sorted(order)
    for words in (
        f"1. {SPOT}\n     cheapest\n     refused",
        "refused after 0.40 s: no capacity [InsufficientInstanceCapacity]",
        "We have none in us-east-1a",
        "request req-1",
        "next: gone on to the next offer (until ",
        "refused after 0.30 s: over quota [VcpuLimitExceeded]",
        "was not asked again until",
        "what draws on the quota L-417A185B in us-east-1",
        "hint: ask for more: https://example.org/quota",
        "failed after 300.00 s: did not come up",
        "the machine printed at last:",
        "line 29",
        "taken as us-central1-a/b-1 after 33.00 s",
        "ran on gcp us-central1-a/b-1 (us-central1-a a3-highgpu-8g), running",
    ):
        assert words in text, words
    assert "line 10\n" not in text


def test_the_data_is_whole_and_without_keys(project: Path, own_env: dict[str, str]) -> None:
    """--json has the run, each attempt with all its fields, and where it ended up."""
    noted(own_env).close()
    said = byoc(["why", "--json"], project, own_env)
    shown = json.loads(said.out)
    assert {"run", "attempts", "stages", "instances"} <= set(shown)
    first = shown["attempts"][0]
    assert first["error"] == "capacity" and first["code"] == "InsufficientInstanceCapacity"
    assert first["message"] and first["request_id"] == "req-1" and first["step"]
    assert first["remembered"] > SYSTEM.wall()
    assert [one["outcome"] for one in shown["attempts"]] == ["refused", "refused", "failed", "ok"]
    assert shown["instances"][0]["id"] == "us-central1-a/b-1"
    assert "t0k" not in said.out and "host_key" not in shown["instances"][0]


def test_a_run_that_goes_on_is_explained(project: Path, own_env: dict[str, str]) -> None:
    """While an offer is being tried, the story says since when."""
    journal = noted(own_env, status="running")
    journal.open_attempt("run-one", "oci", "oci/r/z/BM.GPU/on-demand", SYSTEM.wall() - 4)
    journal.close()
    said = byoc(["why"], project, own_env)
    assert "  running; started" in said.out
    assert "5. oci/r/z/BM.GPU/on-demand\n     being tried since" in said.out


def test_a_warm_run_and_a_failed_one(project: Path, own_env: dict[str, str]) -> None:
    """A warm instance is told as such; a failed run ends with its error and what to do."""
    ran = byoc(["run", "hello.py", "--n", "2"], project, own_env)
    assert ran.code == 0, ran.err
    byoc(["run", "hello.py", "--n", "2"], project, own_env)
    warm = byoc(["why"], project, own_env)
    assert "taken, warm as local-" in warm.out
    byoc(["down", "--all"], project, own_env)
    failed = byoc(["run", "--memory", "900TiB", "hello.py", "--n", "2"], project, own_env)
    assert failed.code == 3
    said = byoc(["why"], project, own_env)
    assert said.code == 0
    assert "failed" in said.out and "error: " in said.out and "no offer was tried" in said.out


@pytest.mark.parametrize("scope", ["offer", "type@zone", "zone", "bucket", "spot", "region",
                                   "cloud", "request", "", "type"])  # fmt: skip
def test_each_scope_has_words(scope: str) -> None:
    """Whatever a refusal shuts is told in words; an odd key never fails."""
    one = Attempt("r", 1, "aws", SPOT, 0.0, scope=scope, bucket="L-1")
    assert attempts.scope(one)
    assert attempts.scope(one._replace(offer="odd"))


def test_many_refusals_are_grouped() -> None:
    """The most frequent kind first, three of each, with the vendor's words, code and request."""
    some = [
        Attempt("r", n, "aws", f"aws/r/z{n}/t/spot", 0.0, "refused", code="Gone", error="capacity",
                message="none " * 100, request_id=f"q{n}")
        for n in range(5)
    ]  # fmt: skip
    quota = some[0]._replace(seq=9, error="quota", message="over", code="", request_id="")
    lines = attempts.grouped([quota, *some])
    assert lines[0] == "no capacity (5 offers)"
    assert lines[1] == "  aws/r/z0/t/spot"
    assert lines[2].endswith("... [Gone] (request q0)") and len(lines[2]) < 260
    assert "  and 2 more" in lines
    assert lines[-3:] == ["over quota", "  aws/r/z0/t/spot", "    over"]
