"""A client of an emulated account that dies at any step, in a process of its own.

``python -m tests.clouds.mines CLOUD FOLDER`` reads orders as lines of JSON from stdin and answers
each with a line. ``home`` names a data folder below FOLDER. ``dies``: run the scenario there and
die before its step of that number; without it the scenario runs to its end and tells its steps.
``holds``: rent an instance and hold it until this process ends. ``reap``: what ``byoc reap`` does
there. Clients are forked from one that has everything loaded: an SDK takes a second to import.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from byoc import settings
from byoc.cli import entry
from byoc.clock import SYSTEM
from byoc.fleet.core import Fleet
from byoc.fleet.dial import SshDialer
from byoc.fleet.registry import registry
from byoc.resources import Resources
from byoc.state import Journal
from tests.clouds.accounts import REGIONS
from tests.fleet.client import Mined

SDKS = {
    "aws": ("boto3", "botocore.session"),
    "gcp": ("google.cloud.compute_v1", "google.auth.transport.requests"),
    "oci": ("oci", "oci.core"),
}
"""What each cloud's adapter imports when it is first used."""
LIFE = os.pipe()
"""Nothing is ever written to it: it closes with the process that forks the clients."""
POLLS = ("cloud.get", "dialer.knock")
SMALL = Resources(cpu=1, memory=1024)
DIED = -signal.SIGKILL


class Silent:
    """A reporter to whom nobody listens."""

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """Nothing."""

    def notice(self, message: str) -> None:
        """Nothing."""


def main() -> None:
    cloud, folder = sys.argv[1], Path(sys.argv[2])
    for module in (*SDKS[cloud], "paramiko", "byoc.cli.commands.reap"):
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_forked(cloud, folder, json.loads(line))), flush=True)


def _forked(cloud: str, folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """What became of one order, done in a process of its own."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        _do(cloud, folder / order["home"], order, tell)
    os.close(tell)
    with os.fdopen(told, "rb") as answer:
        text = answer.read()
    if order.get("holds"):
        return {**order, **json.loads(text)}
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {**order, **(json.loads(text) if text else {}), "code": code}


def _do(cloud: str, home: Path, order: dict[str, Any], tell: int) -> None:
    """The child's life; it never returns."""
    code = 1
    try:
        home.mkdir(parents=True, exist_ok=True)
        if order.get("reap"):
            code = _reap(cloud, home)
        elif order.get("holds"):
            _hold(cloud, home, tell)
        else:
            os.write(tell, json.dumps(_scenario(cloud, home, order.get("dies"))).encode())
            code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the child ends here
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(cloud: str, home: Path) -> int:
    """``byoc reap`` in this data folder, its output among the errors."""
    os.dup2(2, 1)
    os.environ["BYOC_HOME"] = str(home)
    return entry.run(["reap", "--json", "--cloud", cloud])


def _hold(cloud: str, home: Path, tell: int) -> None:
    with opened(cloud, home, lambda _: None) as fleet:
        held = fleet.acquire(SMALL, f"run-{home.name}")
        os.write(tell, json.dumps({"instance": held.instance.id}).encode())
        os.close(tell)
        os.close(LIFE[1])
        os.read(LIFE[0], 1)  # until the process that holds its other end has ended


def _scenario(cloud: str, home: Path, dies: int | None) -> dict[str, Any]:
    """Rent, use, give back, come again, end. Tells the steps that it took."""
    steps: list[str] = []
    polled: set[str] = set()

    def step(name: str) -> None:
        if name in polled:
            return  # how often a booting or ending machine is looked at is a matter of time
        if len(steps) == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)
        if name in POLLS:
            polled.add(name)
        else:
            polled.clear()

    with opened(cloud, home, step) as fleet:
        for keep in (True, False):
            held = fleet.acquire(SMALL, f"run-{home.name}", keep=keep)
            step("connection.use")
            held.connect().close()
            held.release(60.0)
    return {"steps": steps}


@contextmanager
def opened(cloud: str, home: Path, step: Callable[[str], None]) -> Iterator[Fleet]:
    """A fleet as a client opens it, each of whose calls to the outside is a step."""
    environ = dict(os.environ, BYOC_HOME=str(home))
    loaded = settings.load(home, environ)._replace(clouds=(cloud,), regions=(REGIONS[cloud],))
    journal = Journal.open(home, SYSTEM)

    def mined(name: str, part: Any) -> Any:
        return Mined(name, part, step, "before")

    providers = {cloud: mined("cloud", registry(loaded, environ, SYSTEM)[cloud])}
    dialer = mined("dialer", SshDialer(home, SYSTEM))
    fleet = Fleet(loaded, mined("journal", journal), providers, dialer, Silent(), SYSTEM)
    try:
        yield fleet
    finally:
        fleet.settle()
        journal.close()


if __name__ == "__main__":
    main()
