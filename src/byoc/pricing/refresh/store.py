"""A catalogue as the text of its file, and the file in the user's data folder."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from pathlib import Path

from ...errors import StateError
from ...resources import MARKETS, Offer
from ..catalog import FORMAT, NOT_SOLD, UNKNOWN, Source, own_file
from .merge import Cell, Merged, rows


def text(merged: Merged) -> str:
    """The file: its sources, its types and its prices, as in the packaged ones. Regions with the
    same prices of a type from the same lists share a line. The same catalogue is the same text."""
    sources: dict[Source, int] = {}
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for region, kind, cells in rows(merged):
        told = [kind]
        for market in MARKETS:
            told += _cell(cells.get(market), sources)
        lines[tuple(told)].append(region)
    body = [FORMAT, "[sources]"]
    body += ["\t".join(map(_plain, source)) for source in sources]
    body += ["[types]", *sorted(_hardware(kind) for kind in merged.types.values())]
    body += ["[prices]"]
    body += ["\t".join((*told, " ".join(places))) for told, places in sorted(lines.items())]
    return "\n".join(body) + "\n"


def _cell(cell: Cell | None, sources: dict[Source, int]) -> tuple[str, str]:
    if cell is None:
        return NOT_SOLD, ""
    place = str(sources.setdefault(cell.source, len(sources)))
    return (UNKNOWN if cell.price is None else _number(cell.price)), place


def _number(price: float) -> str:
    return f"{price:.6f}".rstrip("0").rstrip(".")


def _hardware(kind: Offer) -> str:
    numbers = (kind.gpu_count, kind.gpu_memory, kind.vcpus, kind.cpus, kind.memory)
    told = (f"{number:g}" if isinstance(number, float) else str(number) for number in numbers)
    return "\t".join((kind.type, kind.gpu, *told, kind.arch, f"{kind.minimum:g}"))


def _plain(value: str) -> str:
    """Words of somebody else on one line and in one column."""
    return " ".join(value.split())


def write(cloud: str, content: str) -> Path:
    """Put a cloud's file into the data folder, whole or not at all; only its owner may read it.
    Raises StateError."""
    path = own_file(cloud)
    try:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(prefix=f".{cloud}-", dir=path.parent)  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, path)
        except BaseException:
            os.unlink(made)
            raise
    except OSError as error:
        raise StateError(
            f"the prices of {cloud} cannot be kept: {path}: {error.strerror}",
            hints=("Make room there, or let BYOC_HOME name a folder of yours.",),
        ) from error
    return path
