"""GPU acceptance: what a machine says of its GPUs, what is made of it, and what follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.errors import BadHostError, CancelledError, InstanceError, from_dict
from byoc.fleet import acceptance
from byoc.fleet.acceptance import Case, accept, judge
from byoc.fleet.recall import QUARANTINE
from byoc.pricing import gpus
from byoc.resources import Offer, Resources, parse_gpus
from byoc.settings import Settings
from tests.fleet.world import FakeStream, Fault, World, good_gpus, offer

EIGHT = offer(type="big", gpu="H100", gpu_count=8)._replace(gpu_memory=81920)
ONE = offer(gpu="L4", gpu_count=1)._replace(gpu_memory=24576)
GPU = Resources(gpus=parse_gpus("L4"), cpu=1, memory=512)
NO_GPUS: dict[str, Any] = {"gpus": []}


# --- judging -------------------------------------------------------------------------------------


def report(offer: Offer = EIGHT, **changes: Any) -> dict[str, Any]:
    return {**good_gpus(offer._asdict()), **changes}


def with_gpu(number: int, offer: Offer = EIGHT, **changes: Any) -> dict[str, Any]:
    """A report in which one GPU is not like the others."""
    found = report(offer)
    found["gpus"][number].update(changes)
    return found


def kinds(told: Mapping[str, Any], offer: Offer = EIGHT) -> list[str]:
    return [one.kind for one in judge(told, offer).findings]


def test_a_sound_machine_has_no_findings() -> None:
    """The GPUs that were offered, without errors, are accepted, with one line on them."""
    found = judge(report(cuda={"ok": 8, "copied": 8, "bad": [], "skipped": ""}), EIGHT)
    assert not found.findings
    assert found.summary == "8 x NVIDIA H100, driver 570.133.20, 8 of 8 multiplied right"


BAD_REPORTS = {
    "count": (report(gpus=report()["gpus"][:7]), "7 GPUs, and 8 were offered"),
    "name": (with_gpu(3, name="NVIDIA A100-SXM4-80GB"), "GPU 3 is an NVIDIA A100"),
    "memory": (with_gpu(2, memory=40960), "GPU 2 has 40960 MiB of memory, and 81920"),
    "ecc": (with_gpu(0, uncorrected=2), "2 uncorrectable memory errors"),
    "rows": (with_gpu(0, pending=True), "only a reset replaces"),
    "xid": (report(kernel=["NVRM: Xid (PCI:0000:0f:00): 79, pid=1, fell"]), "Xid 79 at 0000:0f:00"),
    "cuda": (report(cuda={"bad": ["GPU 1: cuInit failed"]}), "GPU 1: cuInit failed"),
    "hang": (report(gpus=[], trouble={"kind": "hang", "text": "15 s"}), "driver hangs (15 s)"),
    "no-driver": (report(gpus=[], trouble={"kind": "no-driver", "text": "x"}), "does not run"),
}


@pytest.mark.parametrize("kind", BAD_REPORTS)
def test_what_is_wrong_is_found(kind: str) -> None:
    """Each kind of fault is one finding, in words that name the GPU and the figures."""
    told, words = BAD_REPORTS[kind]
    (finding,) = judge(told, EIGHT).findings
    assert finding.kind == kind
    assert words in finding.message


@pytest.mark.parametrize(
    ("offered", "shown", "memory"),
    [
        ("A10G", "NVIDIA A10G", 23028),
        ("A10", "NVIDIA A10", 22731),
        ("L4", "NVIDIA L4", 23034),
        ("L40S", "NVIDIA L40S", 46068),
        ("T4", "Tesla T4", 15360),
        ("V100", "Tesla V100-SXM2-16GB", 16160),
        ("A100-40GB", "NVIDIA A100-SXM4-40GB", 40960),
        ("A100-80GB", "NVIDIA A100 80GB PCIe", 81251),
        ("H100", "NVIDIA H100 80GB HBM3", 81559),
        ("H200", "NVIDIA H200", 143771),
        ("B200", "NVIDIA B200", 183359),
        ("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887),
        ("P100", "Tesla P100-PCIE-16GB", 16276),
        ("T4G", "NVIDIA T4G", 15360),
    ],
)
def test_drivers_own_names_and_sizes_are_accepted(offered: str, shown: str, memory: int) -> None:
    """Names and memory as drivers report them, error correction's share taken, are no findings."""
    known = gpus.gpu(offered)
    assert known is not None
    one = offer(gpu=offered, gpu_count=1)._replace(gpu_memory=known.memory)
    assert not kinds(with_gpu(0, one, name=shown, memory=memory), one)


def test_an_unknown_name_is_no_finding() -> None:
    """A GPU that our table lacks may be a new name of the right one."""
    assert not kinds(with_gpu(0, name="NVIDIA Something New"))


def test_errors_of_programs_are_no_findings() -> None:
    """Xid 13, 31, 43 and 45 are programs' own, and are no reason to send a machine back."""
    lines = [f"NVRM: Xid (PCI:0000:0f:00): {number}, pid=7" for number in (13, 31, 43, 45, 63)]
    assert not kinds(report(kernel=lines))


def test_the_same_error_is_told_once() -> None:
    """A log full of one error makes one finding."""
    line = "NVRM: Xid (PCI:0000:0f:00): 48, pid=1, DBE"
    assert kinds(report(kernel=[line] * 40)) == ["xid"]


def test_the_kernel_says_why_there_is_no_driver() -> None:
    """Where no GPU answers, the kernel's last line about them is told as well."""
    line = "NVRM: GPU 0000:00:1e.0: RmInitAdapter failed! (0x26:0x56:1474)"
    told = report(gpus=[], trouble={"kind": "no-driver", "text": "no devices"}, kernel=[line])
    assert kinds(told) == ["no-driver", "kernel"]


# --- over a connection ---------------------------------------------------------------------------


class Line:
    """A connection whose command prints this; None hangs."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.command = ""
        self.alive = True

    def exec(self, command: str, stdin_first: bytes = b"") -> Any:
        self.command, self.sent = command, stdin_first
        return Silence() if self.data is None else FakeStream(self.data)


class Silence(FakeStream):
    def __init__(self) -> None:
        super().__init__(b"")

    def read(self, n: int, timeout: float | None = None) -> bytes:
        raise TimeoutError


def ask(line: Line, own_image: bool = False, stop: Callable[[], bool] = lambda: False) -> str:
    case = Case("i-1", ONE, "python3", own_image)
    connection: Any = line
    return accept(connection, case, SYSTEM, stop)


def test_a_login_may_print_before_the_report() -> None:
    """The last line counts; and the program is sent with the number of GPUs."""
    line = Line(b"Welcome!\n" + json.dumps(report(ONE)).encode() + b"\n")
    assert ask(line).startswith("1 x NVIDIA L4, driver 570.133.20")
    assert line.command == """exec python3 -I - '{"count": 1}'"""
    assert line.sent == acceptance.program()


def test_a_machine_that_says_nothing_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the bound is a finding."""
    monkeypatch.setattr(acceptance, "LIMIT", 0.05)
    with pytest.raises(BadHostError, match="did not end within"):
        ask(Line(None))


def test_giving_up_is_noticed() -> None:
    """Who gives up does not wait for the machine."""
    with pytest.raises(CancelledError):
        ask(Line(None), stop=lambda: True)


def test_an_answer_that_is_none_is_an_error() -> None:
    """What is no report is told as it is, and nothing is concluded about the GPUs."""
    with pytest.raises(InstanceError, match="python3: not found") as caught:
        ask(Line(b"bash: line 1: exec: python3: not found"))
    assert not isinstance(caught.value, BadHostError)


def test_an_image_without_a_driver_says_what_to_do() -> None:
    """With a machine image of the user's, a missing driver is the image's and not the host's."""
    trouble = {"kind": "no-driver", "text": "it could not communicate with the driver"}
    none = report(ONE, gpus=[], trouble=trouble, kernel=["nvidia: probe of 0000:00:1e.0 failed"])
    line = json.dumps(none).encode() + b"\n"
    with pytest.raises(BadHostError) as caught:
        ask(Line(line), own_image=True)
    assert caught.value.image
    assert "sim.image" in caught.value.hints[0]
    with pytest.raises(BadHostError) as other:
        ask(Line(line))
    assert not other.value.image


def test_the_error_travels_as_data() -> None:
    """Code, findings and remedies are in the error's dictionary and come back from it."""
    with pytest.raises(BadHostError) as caught:
        ask(Line(json.dumps(report(ONE, gpus=[])).encode()))
    data = json.loads(json.dumps(caught.value.as_dict()))
    assert data["code"] == "bad-host"
    assert data["findings"] == ["it has 0 GPUs, and 1 were offered"]
    assert isinstance(from_dict(data), BadHostError)


# --- in a climb ----------------------------------------------------------------------------------


@pytest.fixture
def rented(world: World) -> World:
    """A cloud that sells one L4 in two zones."""
    world.cloud.sold = [
        offer(price=1.0 + n, zone=zone, gpu="L4", gpu_count=1) for n, zone in enumerate("ab")
    ]
    return world


def test_a_bad_host_is_ended_and_the_next_taken(rented: World) -> None:
    """The broken machine is gone before anything ran on it; the next rung serves the user."""
    rented.cloud.script = [Fault(report=NO_GPUS)]
    fleet = rented.fleet()
    held = fleet.acquire(GPU, "run-1")
    assert held.instance.offer.zone == "b"
    assert [one.offer.zone for one in rented.cloud.live()] == ["b"]
    bad, good = fleet.journal.attempts("run-1")
    assert (bad.outcome, bad.error) == ("failed", "bad-host")
    assert "it has 0 GPUs, and 1 were offered" in bad.message
    assert bad.step.startswith("ended after about ")
    assert bad.step.endswith("; small in sim/region/a is left out for 30 min")
    assert bad.remembered == pytest.approx(rented.clock.wall() + QUARANTINE, abs=60)
    assert good.message.startswith("1 x NVIDIA L4, driver 570.133.20")
    assert held.health == good.message
    assert not fleet.journal.intents()


def test_the_next_run_keeps_off_the_zone_for_a_while(rented: World) -> None:
    """The quarantine outlives the run and ends by itself."""
    rented.cloud.script = [Fault(report=NO_GPUS)]
    rented.fleet().acquire(GPU, "run-1", keep=False).end()
    again = rented.fleet().acquire(GPU, "run-2", keep=False)
    assert again.instance.offer.zone == "b"
    again.end()
    rented.clock.sleep(QUARANTINE)
    assert rented.fleet().acquire(GPU, "run-3").instance.offer.zone == "a"


def test_all_bad_is_told_as_that(rented: World) -> None:
    """When every host is broken the error is the finding and not a lack of offers."""
    rented.cloud.script = [Fault(report=NO_GPUS), Fault(report=NO_GPUS)]
    with pytest.raises(BadHostError, match="0 GPUs"):
        rented.fleet().acquire(GPU, "run-1")
    assert not rented.cloud.live()


def test_three_bad_hosts_are_no_accident(rented: World) -> None:
    """Should all hosts of a cloud be found bad, it is left before every zone was tried."""
    rented.cloud.sold = [
        offer(price=1.0 + n, zone=zone, gpu="L4", gpu_count=1) for n, zone in enumerate("abcdef")
    ]
    rented.cloud.script = [Fault(report=NO_GPUS) for _ in range(6)]
    with pytest.raises(BadHostError):
        rented.fleet().acquire(GPU, "run-1")
    assert rented.cloud.ever() == 3


def test_a_bad_image_is_tried_once(rented: World) -> None:
    """A machine image without a driver is the same everywhere: its cloud is left at once."""
    none = {"gpus": [], "trouble": {"kind": "no-driver", "text": "there is no nvidia-smi"}}
    rented.settings = {"options": {"sim.image": "mine"}}
    rented.cloud.script = [Fault(report=none), Fault(report=none)]
    with pytest.raises(BadHostError, match="does not run"):
        rented.fleet().acquire(GPU, "run-1")
    assert rented.cloud.ever() == 1


def test_gpus_may_be_taken_unseen(rented: World) -> None:
    """With accept_gpus = false nothing is asked of the machine."""
    rented.settings = {"accept_gpus": False}
    rented.cloud.script = [Fault(report=NO_GPUS)]
    held = rented.fleet().acquire(GPU, "run-1")
    assert (held.instance.offer.zone, held.health) == ("a", "")


def test_machines_without_gpus_are_not_asked(world: World) -> None:
    """On a machine without GPUs nothing is sent before the agent."""
    held = world.fleet().acquire(Resources(cpu=1, memory=512), "run-1")
    assert held.health == ""


def test_the_setting_is_on_by_default() -> None:
    """GPUs are looked at unless one says otherwise."""
    assert Settings(Path("home")).accept_gpus
