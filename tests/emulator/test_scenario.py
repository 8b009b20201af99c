"""Scenarios: what they say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.emulator import scenario
from byoc.errors import SettingsError

WHOLE = """
seed = 7
description = "all that there is"

[[fault]]
cloud = "aws"
op = "RunInstances"
match = { zone = "us-east-1?", market = "spot" }
error = "InsufficientInstanceCapacity"
times = -1
delay = 0.5
message = "none left"
status = 500

[[quota]]
cloud = "gcp"
region = "us-*"
bucket = "NVIDIA_T4_GPUS"
limit = 0

[[capacity]]
cloud = "oci"
type = "VM.GPU.*"
count = 2

[[event]]
cloud = "aws"
after = "first-input"
delay = 1
action = "preempt"
notice = 120

[[event]]
cloud = "oci"
at = 3
action = "cut"
for = 2.5
count = -1

[boot]
delay = 1
jitter = 0.5
never = 0.25

[boot.gcp]
delay = 4

[list]
lag = 2
aws = 0
"""


def test_every_key_is_read() -> None:
    """What a file says arrives, by cloud where it differs."""
    found = scenario.parse(WHOLE)
    rule = found.faults[0]
    assert rule.match == {"zone": "us-east-1?", "market": "spot"}
    assert (rule.times, rule.delay, rule.message, rule.status) == (-1, 0.5, "none left", 500)
    assert found.quotas == (scenario.Limit("gcp", "us-*", "NVIDIA_T4_GPUS", 0.0),)
    assert found.capacity == (scenario.Stock("oci", "*", "VM.GPU.*", "*", 2),)
    first, second = found.events
    assert (first.after, first.delay, first.notice, first.number) == ("first-input", 1.0, 120.0, 1)
    assert (second.at, second.lasts, second.number) == (3.0, 2.5, -1)
    assert found.boot["aws"] == scenario.Boot(delay=1.0, jitter=0.5, never=0.25)
    assert found.boot["gcp"] == scenario.Boot(delay=4.0, jitter=0.5, never=0.25)
    assert found.lag == {"aws": 0.0, "gcp": 2.0, "oci": 2.0} and found.seed == 7


def test_an_empty_scenario_is_one() -> None:
    """No table is needed."""
    assert scenario.parse("").faults == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[fault", "not valid TOML"),
        ("[[faults]]\nop = 'x'", "scenario: 'faults' is not known"),
        ("fault = 3", "'fault' must be an array of tables"),
        ("boot = 3", "'boot' must be a table"),
        ("[[fault]]\nerorr = 'x'", "needs 'error'"),
        ("[[fault]]\nerror = 'slow_boot'", "needs 'error'"),
        ("[[fault]]\nerror = 'x'\ntime = 1", "[[fault]] number 1: 'time' is not known"),
        ("[[fault]]\nerror = 'x'\ntimes = -2", "[[fault]] number 1: 'times' must be -1"),
        ("[[fault]]\nerror = 'x'\ntimes = '1'", "'times' must be a whole number"),
        ("[[fault]]\nerror = 5", "'error' must be a text"),
        ("[[fault]]\nerror = 'x'\nstatus = 200", "'status' must be an HTTP status"),
        ("[[fault]]\nerror = 'x'\nmatch = { zonne = 'a' }", "'match' has 'zonne'"),
        ("[[fault]]\nerror = 'x'\nmatch = { zone = 1 }", "'match' has a 'zone' that is not a text"),
        ("[[fault]]\nerror = 'x'\ncloud = 'azure'", "'cloud' must be one of aws, gcp, oci"),
        ("[[fault]]\nerror = 'x'\n[[fault]]\nerror = 'y'\ndelay = -1", "number 2: 'delay' must be"),
        ("[[quota]]\ncloud = 'aws'\nbucket = 'b'", "'limit' is missing"),
        ("[[quota]]\nbucket = 'b'\nlimit = nan", "'limit' must not be negative"),
        ("[[capacity]]\ncount = 1.5", "'count' must be a whole number"),
        ("[[capacity]]\ncount = -1", "'count' must not be negative"),
        ("[[capacity]]\ncount = 1\nmarket = 'cheap'", "'market' must be one of"),
        ("[[event]]\nat = 1", "'action' is missing"),
        ("[[event]]\naction = 'explode'\nat = 1", "'action' must be one of preempt"),
        ("[[event]]\naction = 'kill'", "needs either 'at'"),
        ("[[event]]\naction = 'kill'\nat = 1\nafter = 'launch'", "needs either 'at'"),
        ("[[event]]\naction = 'kill'\nafter = 'lunch'", "'after' must be one of launch"),
        ("[[event]]\naction = 'kill'\nat = 1\nnotice = 3", "'notice' belongs to"),
        ("[[event]]\naction = 'kill'\nat = 1\nfor = 3", "'for' belongs to"),
        ("[boot]\ndelay = inf", "'delay' must be seconds"),
        ("[boot]\nnever = 2", "'never' must be true, false or a share"),
        ("[boot.azure]\ndelay = 1", "[boot]: 'azure' is not known"),
        ("[list.aws]\nlags = 1", "[list]: [aws]: 'lags' is not known"),
    ],
)
def test_an_error_names_the_table_and_the_key(text: str, told: str) -> None:
    """A wrong scenario is refused, and the message says where it is wrong."""
    with pytest.raises(SettingsError) as caught:
        scenario.parse(text)
    assert told in caught.value.message


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    """The hint lists what could have been meant."""
    with pytest.raises(SettingsError) as caught:
        scenario.parse("[[fault]]\nerror = 'x'\ntime = 1")
    assert "times" in caught.value.hints[0] and "delay" in caught.value.hints[0]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error of a missing file has its path."""
    with pytest.raises(SettingsError, match=r"none\.toml: .*: No such file"):
        scenario.read(tmp_path / "none.toml")


def test_a_policy_is_of_all_clouds_or_of_one() -> None:
    """``[policy]`` holds for all clouds, a table or a truth value within it for one; what is wrong
    in it is named."""
    text = '[policy]\nwithout = ["a:B"]\noci = false\n[policy.gcp]\nwithout = []'
    found = scenario.parse(text).policy
    assert found["aws"].without == ("a:B",) and found["aws"].enforced
    assert not found["oci"].enforced and found["gcp"].without == ()
    for wrong in ('without = "x"', 'file = "/nowhere/policy.json"', "rights = 1"):
        with pytest.raises(SettingsError, match="policy"):
            scenario.parse(f"[policy]\n{wrong}")


def test_broken_gpus_are_named() -> None:
    """`bad-gpu` needs to know what is wrong, and nothing else takes that key."""
    text = '[[fault]]\nerror = "bad-gpu"\ngpu = "xid"\n'
    assert scenario.parse(text).faults[0].gpu == "xid"
    for wrong in (
        '[[fault]]\nerror = "bad-gpu"\n',
        '[[fault]]\nerror = "bad-gpu"\ngpu = "melted"\n',
        '[[fault]]\nerror = "no-boot"\ngpu = "xid"\n',
    ):
        with pytest.raises(SettingsError, match="'gpu'"):
            scenario.parse(wrong)
