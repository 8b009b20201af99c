"""A cloud whose shop window is a file: for commands that show where something could run.

``python tests/cli/fakecloud.py ARGS...`` is ``byoc ARGS...`` in a world where the providers of the
clouds are these. ``FAKE_CLOUDS`` names a JSON file: by cloud ``offers`` (fields of Offer),
``survey`` (fields of Survey, keys of three parts joined by a blank), ``refuse`` (an error's code,
and the fields of ProviderError) and ``check`` (fields of Finding). It launches nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from byoc import errors, providers
from byoc.cli.main import main
from byoc.clock import Clock
from byoc.providers.base import Draw, Finding, Instance, LaunchRequest, Quota, Survey, Traits
from byoc.resources import Offer

_KINDS = {
    "capacity": errors.CapacityError,
    "quota": errors.QuotaError,
    "access": errors.AccessError,
}


class FakeCloud:
    """A provider that shows and refuses."""

    def __init__(self, name: str, told: Mapping[str, Any]) -> None:
        self.name = name
        self._told = told

    @property
    def traits(self) -> Traits:
        return Traits(end_command=("true",), regional=True)

    def offers(self) -> list[Offer]:
        return [Offer(self.name, **one) for one in self._told.get("offers", ())]

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        told = self._told.get("survey", {})
        return Survey(
            region,
            zones={kind: tuple(zones) for kind, zones in told.get("zones", {}).items()},
            quotas=tuple(Quota(**one) for one in told.get("quotas", ())),
            draws={
                tuple(key.split()): tuple(Draw(**one) for one in draws)
                for key, draws in told.get("draws", {}).items()
            },
            capacity={tuple(key.split()): one for key, one in told.get("capacity", {}).items()},
            prices={tuple(key.split()): one for key, one in told.get("prices", {}).items()},
        )

    def check(self) -> list[Finding]:
        return [Finding(**one) for one in self._told.get("check", ())]

    def launch(self, request: LaunchRequest) -> Instance:
        refusal = dict(self._told["refuse"])
        kind, message = _KINDS[refusal.pop("code")], refusal.pop("message")
        hints = tuple(refusal.pop("hints", ()))
        raise kind(message, provider=self.name, hints=hints, **refusal)

    def get(self, instance_id: str) -> Instance:
        raise AssertionError(f"nothing was launched, and {instance_id} is asked for")

    def terminate(self, instance_id: str) -> None:
        raise AssertionError(f"nothing was launched, and {instance_id} is to be ended")

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> list[Instance]:
        return []

    def console(self, instance_id: str) -> str:
        return ""


def _made(name: str) -> Any:
    def make(home: Path, clock: Clock, environ: Mapping[str, str], options: Any) -> FakeCloud:
        told = json.loads(Path(environ["FAKE_CLOUDS"]).read_text())
        return FakeCloud(name, told.get(name, {}))

    return make


for _name in providers.names():
    if _name != "local":
        setattr(sys.modules[__name__], _name, _made(_name))
        providers._TABLE[_name] = (__name__, _name)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
