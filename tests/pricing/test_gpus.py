"""GPU names: what users, clouds and drivers say, and the one name each has here."""

from __future__ import annotations

import pytest

from byoc.pricing import gpus
from byoc.resources import gpu_name, parse_gpu


@pytest.mark.parametrize(
    ("said", "memory", "name"),
    [
        ("T4", 0, "T4"),
        ("Tesla T4", 15360, "T4"),
        ("nvidia-tesla-t4", 0, "T4"),
        ("T4g", 0, "T4G"),
        ("nvidia-l4", 0, "L4"),
        ("NVIDIA L4", 23034, "L4"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("a10g", 0, "A10G"),
        ("NVIDIA A10", 23028, "A10"),
        ("NVIDIA A10G", 23028, "A10G"),
        ("A100", 0, "A100-40GB"),
        ("A100", 40960, "A100-40GB"),
        ("A100", 81920, "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", 0, "A100-80GB"),
        ("nvidia-tesla-a100", 0, "A100-40GB"),
        ("nvidia-a100-80gb", 0, "A100-80GB"),
        ("Tesla V100-SXM2-16GB", 0, "V100"),
        ("Tesla V100-SXM2-32GB", 0, "V100-32GB"),
        ("V100", 32768, "V100-32GB"),
        ("Tesla P100-PCIE-16GB", 0, "P100"),
        ("nvidia-tesla-p4", 0, "P4"),
        ("NVIDIA H100 80GB HBM3", 0, "H100"),
        ("nvidia-h100-mega-80gb", 0, "H100"),
        ("H100-80GB", 0, "H100"),
        ("nvidia-h200-141gb", 0, "H200"),
        ("nvidia-b200", 0, "B200"),
        ("NVIDIA B300 SXM6 AC", 0, "B300"),
        ("nvidia-gb200", 0, "GB200"),
        ("RTX PRO Server 6000", 0, "RTX-PRO-6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 0, "RTX-PRO-6000"),
        ("nvidia-rtx-pro-6000", 0, "RTX-PRO-6000"),
        ("RTXPRO4500", 0, "RTX-PRO-4500"),
        ("GeForce RTX 4090", 24564, None),
        ("Radeon Pro V520", 8192, None),
        ("", 0, None),
    ],
)
def test_every_name_in_use_leads_to_one_gpu(said: str, memory: int, name: str | None) -> None:
    """Clouds', drivers', Modal's and SkyPilot's names become the catalogue's; others are None."""
    assert gpus.canonical(said, memory) == name


@pytest.mark.parametrize("gpu", gpus.known(), ids=lambda gpu: gpu.name)
def test_canonical_names_are_their_own_and_can_be_asked_for(gpu: gpus.Gpu) -> None:
    """A canonical name stays as it is, in a request too, whatever its case."""
    assert gpus.canonical(gpu.name, gpu.memory) == gpu.name
    assert parse_gpu(gpu.name.lower()).name == gpu.name
    assert gpus.gpu(gpu.name) == gpu and gpu.memory % 1024 == 0


@pytest.mark.parametrize(
    ("asked", "request_"),
    [
        ("nvidia l4:2", "L4:2"),
        ("Tesla T4", "T4"),
        ("h100-80gb:8", "H100:8"),
        ("A100-80:4", "A100-80GB:4"),
        ("A100", "A100"),
        ("A100-40GB", "A100-40GB"),
        ("A10", "A10"),
        ("A10G", "A10G"),
        ("H100!", "H100!"),
        ("b200+", "B200+"),
        ("ANY", "any"),
        ("rtx pro 6000:2", "RTX-PRO-6000:2"),
    ],
)
def test_requests_use_the_same_table(asked: str, request_: str) -> None:
    """What a user writes becomes the name that offers carry; Modal's special names stay."""
    assert str(parse_gpu(asked)) == request_


def test_an_unknown_name_is_kept_in_capitals() -> None:
    """A GPU that is newer than this table can still be asked for."""
    assert gpu_name("nvidia-x900") == "X900"


def test_modal_prices_say_where_they_are_from() -> None:
    """A price comes with its source; where two disagree it is the dated one."""
    priced = {gpu.name: gpu.modal for gpu in gpus.known() if gpu.modal is not None}
    assert all(bool(gpu.modal_source) is (gpu.modal is not None) for gpu in gpus.known())
    h100 = gpus.gpu("H100")
    assert priced["H100"] == 3.9492 and h100 is not None and "2026-05-07" in h100.modal_source
    assert gpus.gpu("RTX-4090") is None
