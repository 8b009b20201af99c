"""The generator of the packaged catalogue: what it writes, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from byoc.pricing import catalog
from byoc.resources import Offer
from tools import make_catalog

HEADER = (
    "cloud,region,zone,instance_type,gpu,gpu_count,gpu_mem_gib,vcpus,memory_gib,arch,"
    "on_demand_usd_h,spot_usd_h,as_of,source"
)
GPUS = (
    "gpu,memory_gib,compute_capability,modal_usd_h_seed000,modal_usd_h_external_2026_05\n"
    "L4,24,8.9,0.80,0.7992\nA10G,24,8.6,1.10,\nP4,8,6.1,,\n"
)
ROWS = [
    "aws,r2,,g6.xlarge,L4,1,24,4,16,x86_64,0.8,0.3,2026-07,od:a;spot:b(~2026-02)",
    "aws,r1,,g6.xlarge,L4,1,24,4,16,x86_64,0.8,0.3,2026-07,od:a;spot:b(~2026-02)",
    "aws,r3,,g6.xlarge,L4,1,24,4,16,x86_64,0.9,,2026-07,od:a",
    "aws,r1,,g6f.large,L4,0.125,3,2,8,x86_64,0.2,,2026-07,od:a",
    "aws,r1,,m7g.large,,0,,2,8,arm64,0.1,,2026-07-20,od:a",
    "gcp,r1,,a3,L4,8,24,208,1872,x86_64,,10,2026-08,spot:c;od empty",
    "oci,r1,,BM.1,A10G,4,24,30,240,x86_64,8,,2026-01,list",
]


def folder(path: Path, rows: list[str]) -> Path:
    """A folder such as the generator reads."""
    path.mkdir(parents=True)
    (path / "gpus.csv").write_text(GPUS)
    (path / "offers.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def made(tmp_path: Path, rows: list[str], name: str = "a") -> dict[str, str]:
    """The files that the generator writes for these rows, by name."""
    target = tmp_path / f"{name}-out"
    assert make_catalog.make(folder(tmp_path / name, rows), target) == []
    return {file.name: file.read_text() for file in target.iterdir()}


def read(files: dict[str, str], cloud: str) -> dict[tuple[str, str, str], Offer]:
    snapshot = catalog.parse(cloud, files[f"{cloud}.tsv"])
    return {(offer.region, offer.type, offer.market): offer for offer in snapshot.offers}


def test_what_is_written_is_what_is_read_back(tmp_path: Path) -> None:
    """Each row becomes its offers: prices, markets, hardware and billing survive the round trip."""
    files = made(tmp_path, ROWS)
    aws = read(files, "aws")
    prices = {key: offer.price for key, offer in aws.items() if key[1] == "g6.xlarge"}
    assert prices == {
        ("r1", "g6.xlarge", "on-demand"): 0.8,
        ("r1", "g6.xlarge", "spot"): 0.3,
        ("r2", "g6.xlarge", "on-demand"): 0.8,
        ("r2", "g6.xlarge", "spot"): 0.3,
        ("r3", "g6.xlarge", "on-demand"): 0.9,
        ("r3", "g6.xlarge", "spot"): None,
    }
    l4 = aws["r1", "g6.xlarge", "spot"]
    assert l4 == Offer(
        "aws", "r1", "", "g6.xlarge", "spot", 0.3, 2, 16384, 0, "L4", 1, 24576, 4, "x86_64", 60
    )
    assert aws["r1", "m7g.large", "on-demand"].cpus == 2
    assert [key[2] for key in read(files, "gcp")] == ["spot"]
    assert [(key[2], o.minimum) for key, o in read(files, "oci").items()] == [("on-demand", 3600)]


def test_fractions_of_a_gpu_are_left_out(tmp_path: Path) -> None:
    """An offer cannot hold an eighth of a GPU, so the packaged files have none."""
    assert "g6f.large" not in made(tmp_path, ROWS)["aws.tsv"]


def test_each_market_keeps_its_own_date_and_source(tmp_path: Path) -> None:
    """A spot clause's date is the spot price's; the row's date is the on-demand price's."""
    snapshot = catalog.parse("aws", made(tmp_path, ROWS)["aws.tsv"])
    told = {
        (offer.region, offer.type, offer.market): source
        for offer, source in zip(snapshot.offers, snapshot.sources, strict=True)
    }
    assert told["r1", "g6.xlarge", "on-demand"] == ("2026-07", "od:a")
    assert told["r1", "g6.xlarge", "spot"] == ("2026-02", "spot:b(~2026-02)")
    assert told["r3", "g6.xlarge", "spot"] == ("2026-07", make_catalog.NO_PRICE)


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    """The order of the rows does not matter, and nothing of the moment is written."""
    assert made(tmp_path, ROWS) == made(tmp_path, list(reversed(ROWS)), "b")


def test_modals_dated_price_wins(tmp_path: Path) -> None:
    """Of two prices for a GPU the dated one is packaged; without any there is none."""
    lines = made(tmp_path, ROWS)["gpus.tsv"].splitlines()[1:]
    assert [line.split("\t")[3] for line in lines] == ["0.7992", "1.10", ""]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("aws,r1,,x,,0,,2,8,x86_64,,,2026-07,od:a", "no price"),
        ("aws,r1,,x,,0,,2,8,x86_64,-1,,2026-07,od:a", "out of range"),
        ("aws,r1,,x,,0,,2,8,x86_64,4000,,2026-07,od:a", "out of range"),
        ("aws,r1,,x,,0,,2,8,x86_64,1,1.2,2026-07,od:a", "above the on-demand price"),
        ("aws,r1,,x,,0,,2,8,x86_64,1,,July,od:a", "no date"),
        ("aws,r1,,x,,0,,2,8,x86_64,1,,2026-07,", "no source"),
        ("aws,r1,,x,X9,1,24,2,8,x86_64,1,,2026-07,od:a", "unknown GPU"),
        ("aws,r1,,x,L4,3,24,2,8,x86_64,1,,2026-07,od:a", "3 GPUs"),
        ("aws,r1,,x,L4,1,16,2,8,x86_64,1,,2026-07,od:a", "16384 MiB"),
        ("aws,r1,,x,,2,,2,8,x86_64,1,,2026-07,od:a", "no GPU"),
        ("aws,r1,,x,,0,,0,8,x86_64,1,,2026-07,od:a", "no processors"),
        ("aws,r1,,x,,0,,2,8,mips,1,,2026-07,od:a", "unknown architecture"),
        ("aws,r1,,g6.xlarge,L4,1,24,4,16,x86_64,0.8,,2026-07,od:a", "twice"),
        ("aws,r9,,g6.xlarge,L4,1,24,8,16,x86_64,0.8,,2026-07,od:a", "differs"),
    ],
)
def test_a_wrong_row_stops_everything(tmp_path: Path, row: str, fault: str) -> None:
    """Nothing is written when one row cannot be right, and the row is named."""
    found = make_catalog.make(folder(tmp_path / "a", [*ROWS, row]), tmp_path / "out")
    assert [fault in text and row.split(",")[3] in text for text in found] == [True]
    assert not (tmp_path / "out").exists()


def test_the_columns_are_those_of_the_research() -> None:
    """The rows of these tests have every column that the generator reads."""
    rows = list(csv.DictReader([HEADER, *ROWS]))
    assert [make_catalog.row(raw).type for raw in rows][:2] == ["g6.xlarge", "g6.xlarge"]
