"""Boot data for tests: launch requests, what a document says, and the dead-man off its machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from byoc.providers.aws import launch as aws
from byoc.providers.base import LaunchRequest
from byoc.providers.gcp import body as gcp
from byoc.providers.oci import ending as oci
from byoc.resources import Offer
from byoc.transport import keys
from tests.helpers import ROOT, until

END = "#!/bin/sh\nexec shutdown -h now\n"
"""An end script as short as they come."""
END_SCRIPTS = {
    "shortest": END,
    "aws": aws.END_SCRIPT,
    "gcp": gcp.end_script("https://compute.googleapis.com", "byoc@project.iam.gserviceaccount.com"),
    "gcp without an account": gcp.end_script("https://compute.googleapis.com", ""),
    "oci": oci.script(),
    "oci, emulated": oci.script(emulated=True),
}
"""How a machine ends itself, on every cloud."""
OFFER = Offer("aws", "us-east-1", "us-east-1a", "g6.xlarge", "spot", 1.0, 4.0, 16384)
SCRIPTS = ROOT / "src/byoc/providers"


def request(boot_lease: float = 1800.0, **changes: Any) -> LaunchRequest:
    """A launch request with real keys; ``changes`` replace fields."""
    made = LaunchRequest(
        token="ab" * 16,
        offer=OFFER,
        tags={"byoc-run": "rn-1"},
        host_key=keys.new_host_key(),
        authorized_key=keys.new_host_key().public,
        boot_lease=boot_lease,
    )
    return made._replace(**changes)


def document(text: str) -> dict[str, Any]:
    """What boot data says, without a YAML library: it is JSON behind its first line."""
    first, rest = text.split("\n", 1)
    assert first == "#cloud-config"
    found: dict[str, Any] = json.loads(rest)
    return found


class DeadMan:
    """``deadman.sh`` on this host, with files in place of all that it would read, write or call."""

    TOOLS = ("timeout", "readlink")
    LOOK = "0.02"

    def __init__(self, folder: Path, uptime: float = 1000.0, boot: int = 1300) -> None:
        self.folder = folder
        self.lease = folder / "lease"
        self.known = folder / "known"
        self.calls = folder / "calls"
        self.sysrq = folder / "sysrq"
        self.shims = folder / "bin"
        self.shims.mkdir()
        for name in self.TOOLS:
            program = shutil.which(name)
            assert program
            (self.shims / name).symlink_to(program)
        self.looks = folder / "looks"
        sleep = f'#!/bin/sh\necho >>{self.looks}\nexec {shutil.which("sleep")} "$@"\n'
        (self.shims / "sleep").write_text(sleep)
        (self.shims / "sleep").chmod(0o755)
        for path in (self.calls, self.looks):
            path.touch()
        self.known.write_text(f"{boot}\n")
        self.set_uptime(uptime)
        for name in ("byoc-end", "shutdown", "poweroff"):
            self.program(name)
        self.process: subprocess.Popen[bytes] | None = None

    def program(self, name: str, code: int = 0) -> None:
        """A program that writes that it was called, and leaves with ``code``."""
        path = self.shims / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\nexit {code}\n')
        path.chmod(0o755)

    def set_uptime(self, seconds: float) -> None:
        """What the machine's clock says from now on."""
        fresh = self.folder / "uptime.new"
        fresh.write_text(f"{seconds:.2f} 1.00\n")
        fresh.replace(self.folder / "uptime")

    def start(self, shell: str = "sh") -> None:
        """Start it."""
        text = (SCRIPTS / "deadman.sh").read_text()
        for old, new in {
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin": str(self.shims),
            "/root/.byoc/lease": str(self.lease),
            "/run/byoc-deadline": str(self.known),
            "/proc/uptime": str(self.folder / "uptime"),
            "/proc/sysrq-trigger": str(self.sysrq),
            "look=2": f"look={self.LOOK}",
            "pause=20": f"pause={self.LOOK}",
            "patience=90": f"patience={self.LOOK}",
        }.items():
            assert old in text
            text = text.replace(old, new)
        # Nothing may be left by which it could reach the host that the tests run on.
        assert "/proc/sysrq" not in text and "bin:" not in text
        script = self.folder / "deadman"
        script.write_text(text)
        program = shutil.which(shell)
        assert program
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(
                [program, str(script)], stdout=said, stderr=said, start_new_session=True
            )

    @property
    def called(self) -> list[str]:
        """The programs that it called so far."""
        return self.calls.read_text().splitlines()

    def settled(self) -> list[str]:
        """The programs that it called, once it has looked at its lease at least once more."""
        before = self.looks.stat().st_size
        until(lambda: self.looks.stat().st_size > before + 1)
        return self.called

    def stop(self) -> None:
        """End it and all that it has started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
