"""What commands show of clouds and ask of them, against clouds that are files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.state import Journal, Refusal
from tests.cli.harness import Said, compare, with_clouds

P5 = {"region": "us-east-1", "zone": "", "type": "p5.48xlarge", "cpus": 96, "memory": 2097152,
      "gpu": "H100", "gpu_count": 8, "vcpus": 192, "arch": "x86_64", "minimum": 60}  # fmt: skip
A3 = {"region": "us-central1", "zone": "", "type": "a3-highgpu-8g", "cpus": 104,
      "memory": 1919000, "gpu": "H100", "gpu_count": 8, "vcpus": 208, "arch": "x86_64",
      "minimum": 60}  # fmt: skip
L4 = {"region": "us-east-1", "zone": "", "type": "g6.xlarge", "cpus": 2, "memory": 16384,
      "gpu": "L4", "gpu_count": 1, "vcpus": 4, "arch": "x86_64", "minimum": 60}  # fmt: skip
NO_ROOM = {"bucket": "L-417A185B", "region": "us-east-1", "limit": 96, "used": 16, "unit": "vCPU"}

CLOUDS: dict[str, Any] = {
    "aws": {
        "offers": [
            P5 | {"market": "spot", "price": 17.5},
            P5 | {"market": "on-demand", "price": 55.04},
            L4 | {"market": "on-demand", "price": 0.8048},
        ],
        "survey": {
            "zones": {"p5.48xlarge": ["us-east-1a", "us-east-1b"], "g6.xlarge": ["us-east-1a"]},
            "quotas": [NO_ROOM],
            "draws": {"p5.48xlarge on-demand": [{"bucket": "L-417A185B", "amount": 192}]},
            "prices": {"p5.48xlarge us-east-1b spot": 19.25},
        },
    },
    "gcp": {
        "offers": [A3 | {"market": "spot", "price": 18.25}],
        "survey": {
            "zones": {"a3-highgpu-8g": ["us-central1-a", "us-central1-c"]},
            "capacity": {"a3-highgpu-8g us-central1-c spot": False},
        },
    },
}
BOTH = ["--cloud", "aws", "--cloud", "gcp"]
H100 = ["--gpu", "H100:8", *BOTH]


def told(args: list[str], project: Path, env: dict[str, str], clouds: Any = CLOUDS) -> Said:
    """``byoc`` on a page of 80 columns."""
    return with_clouds(args, project, env | {"COLUMNS": "80", "TZ": "UTC"}, clouds)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The clouds with one thing put in place: ``aws/offers/0/price``."""
    clouds: dict[str, Any] = json.loads(json.dumps(CLOUDS))
    place: Any = clouds
    *parts, last = (int(part) if part.isdecimal() else part for part in path.split("/"))
    for part in parts:
        place = place[part]
    place[last] = value
    return clouds


# --- dry runs ------------------------------------------------------------------------------------


def test_a_dry_run_fits_on_eighty_columns(project: Path, own_env: dict[str, str]) -> None:
    """Rank, price, GPUs, market, place, type and reason; what was left out; how old prices are."""
    said = told(["run", "--dry-run", *H100, "hello.py::square", "--x", "1"], project, own_env)
    assert said.code == 0, said.err
    assert all(len(line) <= 80 for line in said.out.splitlines())
    compare("dry-run-clouds", undated(said), {})


def undated(said: Said) -> Said:
    """Without the number of days, which grows, and without what placement reckons."""
    words = [
        line if "days old" not in line else "  prices: of DATE (up to N days old)..."
        for line in said.out.splitlines()
    ]
    reckoned = r"about .* of work with boot .* s"
    text = re.sub(reckoned, "about $N for N min of work", "\n".join(words))
    return Said(said.code, text, "")


def test_a_dry_run_as_data_is_whole(project: Path, own_env: dict[str, str]) -> None:
    """--json has every rung and every refusal, each with its offer and its reason."""
    said = told(["run", "--dry-run", "--json", *H100, "hello.py::square", "--x", "1"], project,
                own_env)  # fmt: skip
    (one,) = json.loads(said.out)["functions"]
    assert one["name"] == "square" and one["request"]["gpus"] == [{"name": "H100", "count": 8}]
    rungs = [rung["offer"] for rung in one["ladder"]["rungs"]]
    assert [(rung["zone"], rung["market"], rung["price"]) for rung in rungs] == [
        ("us-east-1a", "spot", 17.5),
        ("us-central1-a", "spot", 18.25),
        ("us-east-1b", "spot", 19.25),
    ]
    assert all(rung["reason"] for rung in one["ladder"]["rungs"] + one["ladder"]["refused"])
    left = {rung["offer"]["type"]: rung["reason"] for rung in one["ladder"]["refused"]}
    assert "L-417A185B" in left["p5.48xlarge"]
    assert "none now" in left["a3-highgpu-8g"] and "has no H100" in left["g6.xlarge"]


def test_long_ladders_are_cut_for_people_only(project: Path, own_env: dict[str, str]) -> None:
    """Ten rungs and how many more; all of them with -v and with --json."""
    offers = [L4 | {"region": f"us-{n:02}", "market": "spot", "price": 1.0 + n} for n in range(25)]
    clouds = {"aws": {"offers": offers}}
    base = ["exec", "--dry-run", "--gpu", "L4", "--cloud", "aws"]
    cut = told([*base, "--", "true"], project, own_env, clouds)
    assert "and 15 more (-v shows all)" in cut.out and "us-09" in cut.out and "us-10" not in cut.out
    assert "us-24" in told([*base, "-v", "--", "true"], project, own_env, clouds).out
    whole = told([*base, "--json", "--", "true"], project, own_env, clouds)
    (one,) = json.loads(whole.out)["functions"]
    assert len(one["ladder"]["rungs"]) == 25


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--max-price", "18"], "costs more than $18 an hour"),
        (["--exclude", "gcp", "--exclude", "*/*/*/*/on-demand"], "is excluded by 'gcp'"),
        (["--exclude", "*/*/us-east-1b"], "excluded by '*/*/us-east-1b'"),
        (["--region", "us-east-1"], "is in us-central1, allowed: us-east-1"),
    ],
)
def test_limits_leave_offers_out_with_their_reason(
    options: list[str], left: str, project: Path, own_env: dict[str, str]
) -> None:
    """Each limit that is given shows what it cost."""
    words = ["run", "--dry-run", *H100, *options, "hello.py::square", "--x", "1"]
    said = told(words, project, own_env)
    assert said.code == 0, said.err
    assert left in " ".join(said.out.split())


def test_exclusions_add_to_the_settings(project: Path, own_env: dict[str, str]) -> None:
    """--exclude does not bring back what byoc.toml excludes."""
    env = own_env | {"BYOC_EXCLUDE": "aws/us-east-1/*/*/spot"}
    words = ["run", "--dry-run", "--json", *H100, "--exclude", "gcp", "hello.py::square"]
    said = told([*words, "--x", "1"], project, env, changed("aws/survey/quotas", []))
    (one,) = json.loads(said.out)["functions"]
    assert {rung["offer"]["market"] for rung in one["ladder"]["rungs"]} == {"on-demand"}


# --- plans ---------------------------------------------------------------------------------------


def plan_of(project: Path, env: dict[str, str], *options: str) -> dict[str, Any]:
    """A plan of a function on the clouds."""
    said = told(["plan", "--json", *H100, *options, "hello.py::square", "--x", "1"], project, env)
    assert said.code == 0, said.err
    document: dict[str, Any] = json.loads(said.out)
    return document


def apply(
    document: dict[str, Any], project: Path, env: dict[str, str], clouds: Any = CLOUDS, *more: str
) -> Said:
    """``byoc apply`` of it."""
    words = ["apply", "-", *more]
    return with_clouds(words, project, env | {"COLUMNS": "80"}, clouds, json.dumps(document))


def test_a_plan_approves_offers_with_their_prices(project: Path, own_env: dict[str, str]) -> None:
    """The first rungs in their order; the dearest of them is the ceiling."""
    document = plan_of(project, own_env, "--top", "2")
    (part,) = document["functions"]
    assert [(one["offer"], one["price"]) for one in part["offers"]] == [
        ("aws/us-east-1/us-east-1a/p5.48xlarge/spot", 17.5),
        ("gcp/us-central1/us-central1-a/a3-highgpu-8g/spot", 18.25),
    ]
    assert document["price_ceiling"] == part["price_ceiling"] == 18.25
    assert document["line"][:5] == ["run", "--gpu", "H100:8", "--cloud", "aws"]
    said = told(["plan", *H100, "--top", "2", "hello.py::square", "--x", "1"], project, own_env)
    assert "at most $18.25/h" in said.out and "not approved: 1 more" in said.out


def test_dearer_offers_are_refused_before_money(project: Path, own_env: dict[str, str]) -> None:
    """An approved offer above the ceiling: exit code 6; one that moved below it is fine."""
    document = plan_of(project, own_env)
    fine = apply(document, project, own_env, changed("aws/offers/0/price", 19.0), "--dry-run")
    assert fine.code == 0, fine.err
    said = apply(document, project, own_env, changed("aws/offers/0/price", 30.0), "--json")
    assert said.code == 6
    assert json.loads(said.out)["error"]["code"] == "budget"
    assert "us-east-1a/p5.48xlarge/spot was $17.50/h and is $30.00/h" in said.err


def test_only_the_approved_offers_are_looked_at(project: Path, own_env: dict[str, str]) -> None:
    """A cheaper one that came up since is not taken: the plan's order stands."""
    document = plan_of(project, own_env, "--top", "2")
    cheaper = changed("aws/survey/prices", {"p5.48xlarge us-east-1b spot": 1.0})
    said = apply(document, project, own_env, cheaper, "--dry-run", "--json")
    (one,) = json.loads(said.out)["functions"]
    keys = [rung["offer"]["zone"] for rung in one["ladder"]["rungs"]]
    assert keys == ["us-east-1a", "us-central1-a"]


def test_without_any_approved_offer_nothing_is_run(project: Path, own_env: dict[str, str]) -> None:
    """All approved offers are gone: exit code 3, although others are there."""
    document = plan_of(project, own_env, "--exclude", "gcp", "--top", "1")
    gone = changed("aws/survey/zones", {"p5.48xlarge": ["us-east-1b"]})
    said = apply(document, project, own_env, gone)
    assert said.code == 3, said
    assert "not sold in us-east-1a" in said.err


def test_a_run_that_nobody_takes_tells_each_answer(project: Path, own_env: dict[str, str]) -> None:
    """The error groups the answers, with the vendors' codes and request ids, and says what next."""
    clouds = json.loads(json.dumps(CLOUDS))
    clouds["aws"]["refuse"] = {
        "code": "capacity", "message": "no p5 here", "vendor_code": "InsufficientInstanceCapacity",
        "request_id": "req-7", "scope": "offer", "remember": 180.0,
    }  # fmt: skip
    clouds["gcp"]["refuse"] = {
        "code": "quota", "message": "limit exceeded", "vendor_code": "QUOTA_EXCEEDED",
        "request_id": "op-9", "scope": "bucket", "bucket": "GPUS", "remember": 900.0,
    }  # fmt: skip
    words = ["run", "--json", *H100, "hello.py::square", "--x", "1"]
    said = told(words, project, own_env, clouds)
    assert said.code == 3, said.err
    lines = said.err.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("error: "))
    assert lines[start].endswith("worked")
    block = "\n".join(lines[start:])
    assert "  no capacity (2 offers)\n    aws/us-east-1/us-east-1a/p5.48xlarge/spot\n" in block
    assert "no p5 here [InsufficientInstanceCapacity] (request req-7)" in block
    assert "  over quota\n" in block and "(request op-9)" in block
    shown = json.loads(said.out)
    assert "hint: see `byoc why " + shown["run"] in block
    assert [one["code"] for one in shown["attempts"]].count("InsufficientInstanceCapacity") == 2
    # what was refused is remembered: the next look says so
    later = told(["capacity", "H100:8", *BOTH], project, own_env, clouds)
    assert later.code == 1
    assert "refused" in later.out and "(InsufficientInstanceCapacity)" in later.out


def test_one_refusal_is_told_with_its_code(project: Path, own_env: dict[str, str]) -> None:
    """A provider's own error shows provider, code, request id and hint."""
    clouds = {"aws": {"offers": [L4 | {"market": "spot", "price": 1.0, "zone": "us-east-1a"}],
                      "refuse": {"code": "access", "message": "you may not launch",
                                 "vendor_code": "UnauthorizedOperation", "request_id": "req-3",
                                 "scope": "cloud",
                                 "hints": ["grant ec2:RunInstances"]}}}  # fmt: skip
    said = told(["exec", "--gpu", "L4", "--cloud", "aws", "--", "true"], project, own_env, clouds)
    assert said.code == 4
    assert "error: you may not launch\n  aws, code UnauthorizedOperation, request req-3" in said.err
    assert "hint: grant ec2:RunInstances" in said.err


# --- capacity ------------------------------------------------------------------------------------


def test_capacity_tells_what_is_known_of_each_offer(project: Path, own_env: dict[str, str]) -> None:
    """Zones, prices, the cloud's word and quotas; 0 because something may be had."""
    said = told(["capacity", "H100:8", *BOTH], project, own_env)
    assert said.code == 0, said.err
    assert all(len(line) <= 80 for line in said.out.splitlines())
    compare("capacity-clouds", undated(said), {})


def test_capacity_as_data(project: Path, own_env: dict[str, str]) -> None:
    """Each offer with its state, zones, quota's rest and price; the exit code says whether any."""
    said = told(["capacity", "H100:8", *BOTH, "--json"], project, own_env)
    shown = json.loads(said.out)
    states = {(one["offer"]["zone"], one["offer"]["market"]): one for one in shown["offers"]}
    assert states["us-east-1a", "spot"]["state"] == "unknown"
    assert states["us-central1-c", "spot"]["state"] == "full"
    quota = states["us-east-1a", "on-demand"]
    assert quota["state"] == "quota" and quota["rooms"][0]["left"] == 80
    assert quota["may_be_had"] is False and shown["exit_code"] == 0
    cost = [one["expected"]["cost"] for one in shown["offers"]]
    assert cost == sorted(cost)


def test_remembered_refusals_are_told_with_their_age(
    project: Path, own_env: dict[str, str]
) -> None:
    """What an earlier run was refused is shown, with since when and until when."""
    now = SYSTEM.wall()
    journal = Journal.open(Path(own_env["BYOC_HOME"]), SYSTEM)
    for zone in ("us-east-1a", "us-east-1b"):
        key = f"aws/offer/us-east-1/{zone}/p5.48xlarge/spot"
        journal.remember(
            Refusal(key, "aws", "offer", "us-east-1", zone, "p5.48xlarge", "spot",
                    error="capacity", code="InsufficientInstanceCapacity", message="none",
                    at=now - 300, until=now + 600)
        )  # fmt: skip
    journal.close()
    said = told(["capacity", "H100:8", "--cloud", "aws", "--spot"], project, own_env)
    assert said.code == 1
    assert "refused 5 min ago (InsufficientInstanceCapacity), not asked again" in " ".join(
        said.out.split()
    )
    data = told(["capacity", "H100:8", "--cloud", "aws", "--spot", "--json"], project, own_env)
    (first, _) = json.loads(data.out)["offers"]
    assert first["state"] == "refused" and first["refusal"]["age"] >= 300


def test_nothing_that_fits_is_a_plain_no(project: Path, own_env: dict[str, str]) -> None:
    """A GPU that is not sold in the place that was named: 1, with the reason."""
    words = ["capacity", "H200:8", *BOTH, "--json"]
    said = told(words, project, own_env)
    assert said.code == 1
    shown = json.loads(said.out)
    assert shown["offers"] == [] and "H200" in shown["reason"]


def test_this_computer_has_capacity(project: Path, own_env: dict[str, str]) -> None:
    """Without a GPU and without a cloud it is this computer that is asked."""
    said = told(["capacity", "--cpu", "0.5"], project, own_env)
    assert said.code == 0 and "this computer" in said.out


# --- check ---------------------------------------------------------------------------------------

FINE = {"level": "ok", "subject": "credentials", "message": "account 1"}
WRONG = {"level": "fail", "subject": "clock", "message": "10 min late", "remedy": "run ntpdate"}
WARNS = {"level": "warn", "subject": "quota", "message": "no GPU", "remedy": "ask for some"}


@pytest.mark.parametrize(
    ("findings", "code"), [([FINE], 0), ([FINE, WARNS], 0), ([FINE, WARNS, WRONG], 1)]
)
def test_check_fails_when_a_cloud_cannot_be_used(
    findings: list[Any], code: int, project: Path, own_env: dict[str, str]
) -> None:
    """Only a failure is one: 1. Each finding that is not ok has its remedy, in words and data."""
    clouds = {"aws": {"check": [FINE]}, "gcp": {"check": findings}}
    said = told(["check", "aws", "--cloud", "gcp"], project, own_env, clouds)
    assert said.code == code
    assert said.out.count("hint: ") == len(findings) - 1
    data = told(["check", "--cloud", "aws,gcp", "--json"], project, own_env, clouds)
    assert data.code == code
    assert [len(found) for found in json.loads(data.out)["clouds"].values()] == [1, len(findings)]


def test_check_asks_all_configured_clouds(project: Path, own_env: dict[str, str]) -> None:
    """Without names it is the configured clouds; without those, this computer and a hint."""
    clouds = {name: {"check": [FINE]} for name in ("aws", "gcp", "oci")}
    env = own_env | {"BYOC_CLOUDS": "aws,oci"}
    shown = json.loads(told(["check", "--json"], project, env, clouds).out)
    assert list(shown["clouds"]) == ["aws", "oci"] and shown["not_configured"] == []
    bare = told(["check"], project, own_env, clouds)
    assert "local" in bare.out and "no cloud is configured" in bare.out
    assert 'clouds = ["aws"]' in bare.out
