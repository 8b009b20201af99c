"""Real machines of the emulated project: how they end themselves, and how they are warned."""

from __future__ import annotations

import secrets

import pytest

from byoc.providers.base import OWNER_TAG, TOKEN_TAG, Instance, LaunchRequest, Provider
from byoc.providers.gcp import states
from tests.clouds.conftest import MakeWorld
from tests.clouds.gcp.conftest import offer
from tests.clouds.rehearsal import real_machines
from tests.helpers import until
from tests.providers.world import new_key

pytestmark = [pytest.mark.slow, real_machines]


def _launch(one: Provider, lease: float, market: str = "on-demand") -> Instance:
    """A machine whose dead-man ends it after ``lease`` seconds."""
    token = secrets.token_hex(16)
    tags = {OWNER_TAG: "machines", TOKEN_TAG: token}
    key = new_key()
    request = LaunchRequest(token, offer("e2-medium", market), tags, key, key.public, lease)
    return one.launch(request)


def test_a_forgotten_machine_stops_and_keeps_its_disk(cloud_world: MakeWorld) -> None:
    """Without an account the dead-man powers it off; the sweep finds it and deletes the rest."""
    one = cloud_world("", ["gcp"], "real").provider("gcp")
    launched = _launch(one, 1.0)
    off = until(lambda: [i for i in one.list({}) if "disk is still paid" in i.detail], 30)
    assert [i.id for i in off] == [launched.id] and off[0].state == "ending"
    one.terminate(launched.id)
    until(lambda: one.get(launched.id).state == "gone", 10)


def test_a_forgotten_machine_deletes_itself(cloud_world: MakeWorld) -> None:
    """With an account it asks the API to delete it: nothing stays, its disk neither."""
    made = cloud_world("", ["gcp"], "real")
    one = made.provider("gcp", service_account="vm@byoc-emulated.iam.gserviceaccount.com")
    launched = _launch(one, 1.0)
    gone = until(lambda: (now := one.get(launched.id)).state == "gone" and now, 30)
    assert gone.detail == "ended by delete" and gone.failure is None
    deletes = made.world.log.calls("gcp", "compute.instances.delete")
    assert [call.facts["id"] for call in deletes] == [launched.id]
    assert made.world.facades()[0].leftovers() == []


def test_a_preempted_machine_is_taken(cloud_world: MakeWorld) -> None:
    """The notice comes first, then the machine goes, and the cloud says why."""
    text = (
        '[[event]]\ncloud = "gcp"\nafter = "running"\ndelay = 0.2\n'
        'action = "preempt"\nnotice = 0.5\n'
    )
    one = cloud_world(text, ["gcp"], "real").provider("gcp")
    launched = _launch(one, 300.0, "spot")
    gone = until(lambda: (now := one.get(launched.id)).state == "gone" and now, 30)
    assert gone.failure is not None and gone.failure.vendor_code == states.PREEMPTED
