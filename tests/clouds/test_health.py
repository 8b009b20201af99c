"""Broken machines and hedged launches as a user meets them: the command on emulated accounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clouds.rehearsal import BYOC, PROGRAMS, Rehearsal, real_machines, rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), real_machines]

GPUS = str(PROGRAMS / "on_gpus.py")
XID = """
[[fault]]
cloud = "aws"
error = "bad-gpu"
gpu = "xid"
"""
NO_DRIVER = """
[[fault]]
error = "bad-gpu"
gpu = "no-driver"
times = -1
"""
SLOW = """
[[fault]]
error = "slow-boot"
delay = 15
match = { zone = "us-central1-a" }

[[fault]]
error = "bad-gpu"
gpu = "ecc"
match = { zone = "us-central1-b" }
times = -1
"""


def explained(done: Rehearsal) -> str:
    """What `byoc why` says of the run."""
    environ = {"BYOC_HOME": str(done.home), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    words = [BYOC, "why"]
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout


def test_a_bad_gpu_host_is_replaced(byoc_home: Path) -> None:
    """The first host has an error in its kernel's log: it is ended before anything ran there, the
    next one serves the run, and `byoc why` names the finding and the quarantine."""
    where = ("--cloud", "aws", "--region", "us-east-1", "--gpu", "T4")
    done = rehearse(byoc_home, BYOC, "run", GPUS, *where, "--no-keep", scenario=XID)
    assert done.code == 0, done.err
    assert "visible: 0" in done.out
    first, second = done.report["instances"]
    assert "first-input" not in first["moments"]
    assert "first-input" in second["moments"]
    assert done.report["alive"] == [] and done.report["leftovers"] == []
    bad, good = done.why()
    assert (bad["error"], bad["outcome"]) == ("bad-host", "failed")
    assert "Xid 79" in bad["message"]
    assert bad["remembered"] > bad["at"] + 1500
    assert good["message"].startswith("1 x Tesla T4, driver ")
    assert "was not sound, and was ended" in explained(done)


def test_an_image_without_a_driver_is_named(byoc_home: Path) -> None:
    """With an image of the user's own the missing driver is told once, with the remedy."""
    where = ("--cloud", "gcp", "--region", "us-central1", "--gpu", "T4", "--no-keep")
    image = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"
    (byoc_home / "byoc.toml").write_text(f'[gcp]\nimage = "{image}"\n')
    done = rehearse(byoc_home, BYOC, "run", GPUS, *where, scenario=NO_DRIVER)
    assert done.code == 4, done.err
    assert "NVIDIA's driver is not installed" in done.err
    assert "leave out gcp.image, or name an image that has NVIDIA's driver in it" in done.err
    assert len(done.report["instances"]) == 1
    assert done.report["alive"] == []


def test_a_hedge_keeps_the_first_sound_machine(byoc_home: Path) -> None:
    """Three at once: one boots late, one is broken, the third is kept; the price was said first."""
    where = ("--cloud", "gcp", "--region", "us-central1", "--gpu", "L4", "--no-keep")
    done = rehearse(byoc_home, BYOC, "run", GPUS, *where, "--hedge", "3", scenario=SLOW)
    assert done.code == 0, done.err
    assert "it costs up to $" in done.err
    assert done.err.index("costs up to $") < done.err.index("boot  ")
    assert done.report["alive"] == [] and done.report["leftovers"] == []
    (kept,) = [one for one in done.report["instances"] if "first-input" in one["moments"]]
    assert kept["zone"] not in ("us-central1-a", "us-central1-b")
    outcomes = {one["offer"].split("/")[2]: one["outcome"] for one in done.why()}
    assert outcomes.pop(kept["zone"]) == "ok"
    assert set(outcomes.values()) <= {"beaten", "failed"}
    assert "was ready first" in explained(done)


def test_a_dry_run_tells_the_price_of_a_hedge(byoc_home: Path) -> None:
    """Nothing is rented; what the hedge would cost is told, an hour's smallest bill by name."""
    where = ("--cloud", "oci", "--gpu", "A100", "--hedge", "2", "--dry-run")
    done = rehearse(byoc_home, BYOC, "run", GPUS, *where)
    assert done.code == 0, done.err
    assert "a hedge of 2" in done.out
    assert " ".join(done.out.split()).count("bills 60 min at least") >= 1
    assert done.report["booted"] == 0
