"""What ``byoc check`` says about the local provider."""

from __future__ import annotations

import os

from ..base import Finding
from .host import Gpus
from .modes import Mode

_SUBJECT = "local"


def findings(mode: Mode, gpus: Gpus, uv: str) -> list[Finding]:
    """One finding each about isolation, network, the SSH server, uv and GPUs."""
    found = [_isolation(mode), _network(), _server(mode), _uv(uv)]
    return [*found, *_gpus(gpus)]


def _isolation(mode: Mode) -> Finding:
    if mode.isolation == "bwrap":
        return Finding(
            "ok",
            _SUBJECT,
            f"instances run in a sandbox of {mode.bwrap}: own processes, home and /tmp, the host "
            "read-only, your home and byoc's keys hidden",
        )
    who = "as root" if os.getuid() == 0 else "with your rights"
    return Finding(
        "warn",
        _SUBJECT,
        f"instances are not isolated ({mode.isolation_note}): code runs on this host {who}, in a "
        "folder of its own",
        "Install bubblewrap (bwrap), and allow user namespaces where the system restricts them.",
    )


def _network() -> Finding:
    return Finding(
        "ok", _SUBJECT, "instances share this host's network; SSH listens on loopback only"
    )


def _server(mode: Mode) -> Finding:
    if mode.server == "sshd":
        return Finding("ok", _SUBJECT, f"instances are met through {mode.sshd}")
    return Finding(
        "warn",
        _SUBJECT,
        f"instances are met through the built-in SSH server ({mode.server_note}), which is slower",
        "Install OpenSSH's server; it need not run, and byoc opens no port beyond loopback.",
    )


def _uv(uv: str) -> Finding:
    if uv:
        return Finding("ok", _SUBJECT, f"environments are built by {uv}")
    return Finding("fail", _SUBJECT, "uv was not found", "Install byoc-cloud again, it brings uv.")


def _gpus(gpus: Gpus) -> list[Finding]:
    if gpus.problem:
        remedy = "Run nvidia-smi and repair the driver; until then no GPU is offered."
        return [Finding("warn", _SUBJECT, f"nvidia-smi failed: {gpus.problem}", remedy)]
    if gpus.names:
        return [Finding("ok", _SUBJECT, f"GPUs: {', '.join(gpus.names)}")]
    return []
