"""`byoc ps` and `byoc down` beyond what the journal points to."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.errors import NotFoundError
from byoc.fleet.watch import Watch
from byoc.providers.base import OWNER_TAG, RUN_TAG, TOKEN_TAG, HostKey, LaunchRequest, Survey
from byoc.settings import Settings
from byoc.state import Journal
from tests.fleet.test_leases import Notes
from tests.fleet.world import FileCloud, HandClock, offer


class Scene:
    """A watch over a cloud that sells by region, and an instance that its journal does not know."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.cloud = FileCloud(folder / "sim", self.clock)
        self.cloud.surveys = {"region": Survey("region")}
        self.journal = Journal.open(folder / "home", self.clock)
        settings = Settings(folder / "home", clouds=("sim",))
        self.watch = Watch(settings, self.journal, {"sim": self.cloud}, Notes(), self.clock)

    def launch(self, run: str, token: str = "ab" * 16) -> str:
        tags = {OWNER_TAG: self.journal.owner, RUN_TAG: run, TOKEN_TAG: token}
        return self.cloud.launch(
            LaunchRequest(token, offer(), tags, HostKey("", "ssh-ed25519 AAAA"), "", 300.0)
        ).id


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_ps_says_where_it_has_not_looked(scene: Scene) -> None:
    """A cloud of which only known regions were asked is named."""
    scene.launch("run-a")
    assert scene.watch.ps() == [] and scene.watch.partial() == ("sim",)


def test_down_looks_everywhere_before_it_gives_up(scene: Scene) -> None:
    """A run that the journal does not point to is found in its region, and ended by its name."""
    made = scene.launch("gh-77-1-aaaa")
    assert [row.id for row in scene.watch.down(["gh-77"])] == [made]
    assert scene.cloud.live() == [] and scene.watch.partial() == ()


def test_what_is_nowhere_is_still_not_found(scene: Scene) -> None:
    """A name that no instance has is refused, and nothing is ended."""
    scene.launch("run-a")
    for name in ("gh-7", "run"):
        with pytest.raises(NotFoundError):
            scene.watch.down([name])
    assert len(scene.cloud.live()) == 1
