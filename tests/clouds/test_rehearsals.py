"""The issue's own story: a user's command, cold, on each emulated cloud, end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clouds.rehearsal import BYOC, HELLO, PROGRAMS, real_machines, rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), real_machines]

CLOUDS = ("aws", "gcp", "oci")
TOLD = ["one call: 25", "a map: [0, 1, 4, 9, 16]"]
"""What ``examples/hello.py`` prints on the client."""


@pytest.mark.parametrize("cloud", CLOUDS)
def test_hello_runs_on_each_cloud(byoc_home: Path, cloud: str) -> None:
    """Cold: an account is found, an instance rented, the function run, everything ended."""
    done = rehearse(byoc_home, BYOC, "run", HELLO, "--cloud", cloud, "--no-keep")
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line in TOLD] == TOLD
    assert "squaring 5 on Python" in done.out
    assert done.report["alive"] == [] and done.report["leftovers"] == [], done.report
    booted = done.report["instances"]
    assert [one["cloud"] for one in booted] == [cloud]
    assert booted[0]["seconds"] > 0 and booted[0]["dollars"] > 0


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_function_sees_the_gpus_it_asked_for(byoc_home: Path, cloud: str) -> None:
    """Each cloud sells some GPU; the cheapest one that does is taken and shown to the function."""
    gpu = "A10" if cloud == "oci" else "T4"
    program = str(PROGRAMS / "on_gpus.py")
    done = rehearse(byoc_home, BYOC, "run", program, "--cloud", cloud, "--gpu", gpu, "--no-keep")
    assert done.code == 0, done.err
    assert f"{gpu}" in done.out and "visible: 0" in done.out
    assert done.report["alive"] == []


def test_with_all_clouds_the_cheapest_offer_is_taken(byoc_home: Path) -> None:
    """Three accounts, no preference: one instance, of the offer that the dry run names first."""
    clouds = [word for cloud in CLOUDS for word in ("--cloud", cloud)]
    done = rehearse(byoc_home, BYOC, "run", HELLO, *clouds, "--no-keep")
    assert done.code == 0, done.err
    assert len(done.report["instances"]) == 1 and done.report["alive"] == []


FALLS = """
[[fault]]
cloud = "gcp"
op = "compute.instances.insert"
match = { market = "spot" }
error = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
times = -1

[[fault]]
cloud = "aws"
op = "RunInstances"
match = { market = "spot" }
error = "MaxSpotInstanceCountExceeded"
times = -1

[[fault]]
cloud = "aws"
op = "RunInstances"
match = { market = "on-demand" }
error = "UnauthorizedOperation"
times = -1
"""


def test_a_run_falls_through_refusals_to_what_works(byoc_home: Path) -> None:
    """The first choice out of capacity in every zone, the second over quota, the third forbidden,
    the fourth works: one run, and `byoc why` tells it."""
    where = ("--cloud", "aws", "--cloud", "gcp", "--region", "us-central1", "--region", "us-east-1")
    program = str(PROGRAMS / "on_gpus.py")
    done = rehearse(byoc_home, BYOC, "run", program, *where, "--no-keep", scenario=FALLS)
    assert done.code == 0, done.err
    *refused, last = done.why()
    assert last["outcome"] == "ok" and "/on-demand" in last["offer"] and last["provider"] == "gcp"
    assert [one["error"] for one in refused].count("quota") == 1, refused
    assert {one["error"] for one in refused} == {"capacity", "quota", "access"}, refused
    for one in refused:
        assert one["code"] and one["message"] and one["request_id"], one
    asked = [one for one in refused if one["provider"] == "aws"]
    assert done.calls("aws", "RunInstances") == len(asked)  # not one retry by the SDK
    asked = [one for one in [*refused, last] if one["provider"] == "gcp"]
    assert done.calls("gcp", "compute.instances.insert") == len(asked)
    assert done.report["alive"] == []


@pytest.mark.parametrize(("cloud", "action"), [("oci", "kill"), ("gcp", "cut")])
def test_a_machine_that_dies_or_falls_silent_loses_no_result(
    byoc_home: Path, cloud: str, action: str
) -> None:
    """Another instance takes over, and the silent one is ended by its cloud."""
    event = f'[[event]]\ncloud = "{cloud}"\nafter = "first-input"\naction = "{action}"\n'
    gpu = "A10" if cloud == "oci" else "T4"
    program = str(PROGRAMS / "squares.py")
    line = [BYOC, "run", program, "--cloud", cloud, "--gpu", gpu, "--no-keep"]
    done = rehearse(byoc_home, *line, scenario=event, environ={"BYOC_LEASE": "10"})
    assert done.code == 0, done.err
    assert f"sum: {sum(x * x for x in range(24))}" in done.out
    assert done.report["alive"] == []
