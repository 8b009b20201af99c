"""Exclusions, architectures, and other rules that hold for new and warm machines alike."""

from __future__ import annotations

import pytest

from byoc.placement import Rules
from byoc.placement.rules import excludes
from byoc.resources import Resources, parse_gpus
from tests.placement.sold import offer

ONE = offer("a3-mega", cloud="gcp", region="us-east1", zone="us-east1-b", market="spot")


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("gcp", True),
        ("gcp/", True),
        ("gc", False),
        ("g?p", True),
        ("*", True),
        ("gcp/us-east1", True),
        ("gcp/us-*", True),
        ("gcp/us", False),
        ("gcp/*/*/a3-*", True),
        ("gcp/*/a3-*", False),
        ("*/*/us-east1-b", True),
        ("*/*/us-east1-c", False),
        ("*/*/*/*/spot", True),
        ("*/*/*/*/on-demand", False),
        ("gcp/us-east1/us-east1-b/a3-mega/spot", True),
        ("gcp/us-east1/us-east1-b/a3-mega/spot/more", False),
        ("GCP", False),
        ("gcp/[tu]s-east1", False),
        ("aws", False),
    ],
)
def test_patterns_match_part_by_part(pattern: str, excluded: bool) -> None:
    """A star stays within its part of the key; a pattern may end early; no other letter is
    special."""
    assert excludes(pattern, ONE) is excluded
    reason = Rules.of(Resources(exclude=(pattern,))).refusal(ONE)
    assert reason == (f"is excluded by {pattern!r}" if excluded else "")


def test_exclusions_of_settings_and_request_both_count() -> None:
    """Neither can be undone by the other."""
    rules = Rules.of(Resources(exclude=("aws",)), exclude=("gcp",))
    assert rules.refusal(ONE)
    assert rules.refusal(offer(cloud="aws"))
    assert not rules.refusal(offer(cloud="oci"))


@pytest.mark.parametrize(
    ("pattern", "matters"),
    [
        ("gcp/us-east1/us-east1-b", True),
        ("*/*/*-b", True),
        ("gcp/*/*/a3-*", False),
        ("gcp/us-west1/us-west1-b", False),
        ("*/*/us-east1-b/other", False),
        ("aws", False),
    ],
)
def test_zone_of_an_offer_without_one_may_be_excluded(pattern: str, matters: bool) -> None:
    """Where the cloud would choose the zone, an excluded zone has to be reckoned with."""
    rules = Rules.of(Resources(exclude=(pattern,)))
    assert rules.zone_matters(ONE._replace(zone="")) is matters


def test_arm_is_taken_only_for_a_gpu_that_was_named() -> None:
    """An arm64 host is no surprise: it needs the name of its GPU."""
    arm = offer(gpu="GH200", gpu_count=1, arch="arm64")
    assert not Rules.of(Resources(gpus=parse_gpus("GH200"))).refusal(arm)
    for asked in ("any", None):
        assert "arm64" in Rules.of(Resources(gpus=parse_gpus(asked))).refusal(arm)
    assert not Rules.of(Resources()).refusal(arm._replace(cloud="local", gpu="", gpu_count=0))


def test_a10g_is_an_a10() -> None:
    """AWS's name for it does not hide it from who asks for an A10, nor the other way round."""
    held = offer(gpu="A10G", gpu_count=1)
    for asked in ("A10", "A10G"):
        assert not Rules.of(Resources(gpus=parse_gpus(asked))).refusal(held)
    assert Rules.of(Resources(gpus=parse_gpus("A100"))).refusal(held)


def test_disk_comes_with_a_cloud_machine() -> None:
    """An offer without a disk size has one of the size that is asked for."""
    rules = Rules.of(Resources(disk=50_000))
    assert not rules.refusal(offer())
    assert "of disk" in rules.refusal(offer()._replace(disk=1000))


def test_price_is_the_last_reason() -> None:
    """What cannot hold the request is not called too dear."""
    rules = Rules.of(Resources(gpus=parse_gpus("H100")), max_price=0.5)
    assert rules.refusal(offer()) == "has no H100 (it has no GPU)"
    assert "costs $1" in rules.refusal(offer(gpu="H100", gpu_count=1))
