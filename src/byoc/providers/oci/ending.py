"""How a machine on OCI ends itself: it terminates itself by the API, as an instance principal.

To shut down does not help: OCI goes on billing what has stopped. What is needed is a dynamic group
and a policy (:mod:`.permissions`, docs/oci.md); without them the machine can only shut down, and is
billed until a client of byoc comes by.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

METADATA_HOST = "http://169.254.169.254"
"""Where an emulated machine reaches its tenancy: it has no other network."""


@functools.cache
def script(emulated: bool = False) -> str:
    """The shell script for :func:`byoc.providers.bootdata.compose`; 0 when OCI has agreed."""
    text = Path(__file__).with_name("selfend.py").read_text(encoding="ascii")
    program = compact(text)
    if emulated:
        program = program.replace('API = ""', f'API = "{METADATA_HOST}"')
    return f"#!/bin/sh\nexec python3 - <<'PROGRAM'\n{program}PROGRAM\n"


def compact(text: str) -> str:
    """Without the documentation, which would only cost room in the boot data: 4 spaces of
    indentation become one."""
    text = re.sub(r'\A"""(.|\n)*?"""\n', "", text)
    text = re.sub(r"  # (noqa|type:|fmt:).*", "", text)
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(f"{_shallow(line)}\n" for line in lines)


def _shallow(line: str) -> str:
    bare = line.lstrip(" ")
    return " " * ((len(line) - len(bare)) // 4) + bare
