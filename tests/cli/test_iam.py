"""`byoc iam`: what it prints, how a program narrows it, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BYOC = str(Path(sys.executable).with_name("byoc"))
PROGRAM = """\
import byoc
app = byoc.App("narrow")


@app.function(gpu="L4", cloud="aws", region="us-east-1", nonpreemptible=True)
def one(): ...


@app.function(gpu="T4", region=["us-east-1", "eu-west-1"], nonpreemptible=True)
def two(): ...
"""


def iam(home: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in an empty data folder."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BYOC_")}
    done = subprocess.run(
        [BYOC, "iam", *words], cwd=home, capture_output=True, text=True, timeout=60, check=False,
        env={**environ, "BYOC_HOME": str(home), "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def statements(text: str) -> dict[str, Any]:
    """AWS's statements by name."""
    return {one["Sid"]: one for one in json.loads(text)["Statement"]}


def test_stdout_is_the_policy_and_stderr_how_to_apply_it(tmp_path: Path) -> None:
    """What is printed can be written to a file; each statement's reason and the command are told
    beside it."""
    done = iam(tmp_path, "aws", "--user", "me")
    found = statements(done.stdout)
    assert all(sid in done.stderr for sid in found)
    assert "aws iam attach-user-policy --user-name me" in done.stderr
    assert "aws:RequestedRegion" not in done.stdout


def test_a_program_narrows_it(tmp_path: Path) -> None:
    """Regions, types and the market of the program's functions bound what may be launched; what
    ends instances stays."""
    (tmp_path / "narrow.py").write_text(PROGRAM)
    found = statements(iam(tmp_path, "aws", "--for", "narrow.py").stdout)
    launch = found["LaunchInstance"]["Condition"]
    assert launch["StringEquals"]["aws:RequestedRegion"] == ["eu-west-1", "us-east-1"]
    assert launch["StringEquals"]["ec2:InstanceMarketType"] == "on-demand"
    types = launch["StringLike"]["ec2:InstanceType"]
    assert {one.partition(".")[0] for one in types} == {"g4dn", "g6", "gr6"}
    assert "SeeSpotRole" not in found
    assert "aws:RequestedRegion" not in json.dumps(found["EndOnlyOwn"])
    one = statements(iam(tmp_path, "aws", "--for", "narrow.py::one").stdout)["LaunchInstance"]
    assert one["Condition"]["StringEquals"]["aws:RequestedRegion"] == "us-east-1"


def test_settings_count(tmp_path: Path) -> None:
    """With a security group of one's own byoc makes none and needs no permission to."""
    (tmp_path / "byoc.toml").write_text('[aws]\nsecurity_group = "sg-1"\n')
    found = iam(tmp_path, "aws").stdout
    assert "CreateSecurityGroup" not in found and "Authorize" not in found


def test_only_the_own_installations(tmp_path: Path) -> None:
    """With --owner-only what is made and ended carries this data folder's own id."""
    found = statements(iam(tmp_path, "aws", "--owner-only").stdout)
    owner = (tmp_path / "owner").read_text().strip()
    ends = found["EndOnlyOwn"]["Condition"]["StringEquals"]
    assert ends == {"aws:ResourceTag/byoc-managed": "1", "aws:ResourceTag/byoc-owner": owner}
    made = found["LaunchInstance"]["Condition"]["StringEquals"]
    assert made["aws:RequestTag/byoc-owner"] == owner


@pytest.mark.parametrize(
    ("words", "has"),
    [
        (("gcp", "--project", "p-1", "--user", "user:me@x.org"), "--member user:me@x.org"),
        (("gcp", "--project", "p-1"), "projects/p-1/roles/byocOwn"),
        (("oci", "--compartment", "ocid1.compartment.oc1..a", "--user", "renters"),
         "Allow group renters to manage instance-family in compartment id ocid1.compartment"),
        (("oci", "--tenancy", "ocid1.tenancy.oc1..t"), "--compartment-id ocid1.tenancy.oc1..t"),
    ],
)  # fmt: skip
def test_scripts_name_for_whom_and_where(tmp_path: Path, words: tuple[str, ...], has: str) -> None:
    """The scripts for gcloud and oci are filled in, and a shell can read them."""
    done = iam(tmp_path, *words)
    assert has in done.stdout
    subprocess.run(["sh", "-n"], input=done.stdout, text=True, check=True)


def test_json_has_policy_and_reasons(tmp_path: Path) -> None:
    """For scripts: the policy as data and as text, why, and the commands."""
    for cloud in ("aws", "gcp", "oci"):
        found = json.loads(iam(tmp_path, cloud, "--json").stdout)
        assert found["ok"] and found["cloud"] == cloud
        assert found["policy"] and found["text"] and all(found["why"].values())


@pytest.mark.parametrize(
    "words",
    [
        ("azure",),
        ("gcp", "--owner-only"),
        ("aws", "--for", "no.py"),
        ("aws", "--project", "p"),
        ("gcp", "--tenancy", "t"),
    ],
)
def test_what_there_is_not_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Unknown clouds and programs, and conditions that a cloud has not, are wrong usage."""
    assert "error:" in iam(tmp_path, *words, code=2).stderr
