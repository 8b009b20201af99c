"""Clouds that sell by region and zone, for stories of failing over."""

from __future__ import annotations

from pathlib import Path

from byoc.errors import ProviderError
from byoc.providers.base import Draw, Quota, Survey
from byoc.resources import Offer
from tests.fleet.world import FileCloud, HandClock, World, offer

ZONES = ("a", "b", "c")


def whole(cloud: str, region: str = "r1", type: str = "small", **more: object) -> Offer:
    """An offer of a whole region."""
    return offer(cloud, type, zone="", region=region, **more)  # type: ignore[arg-type]


def survey(region: str, *sold: Offer, zones: tuple[str, ...] = ZONES, **more: object) -> Survey:
    """What a cloud tells that sells these in all its zones."""
    made = Survey(region, {one.type: tuple(region + zone for zone in zones) for one in sold})
    return made._replace(**more)  # type: ignore[arg-type]


def quota(bucket: str, limit: float, used: float | None = 0.0, region: str = "r1") -> Quota:
    return Quota(bucket, region, limit, used, "vCPU")


def draws(
    bucket: str, *sold: Offer, amount: float = 4.0
) -> dict[tuple[str, str], tuple[Draw, ...]]:
    """Each of these takes so much of the bucket."""
    return {(one.type, one.market): (Draw(bucket, amount),) for one in sold}


def cloud(world: World, name: str, *sold: Offer) -> FileCloud:
    """A cloud of the world that sells these offers in three zones of their regions."""
    made = FileCloud(world.home.parent / name, world.clock, name)
    made.sold = list(sold)
    for region in {one.region for one in sold}:
        made.surveys[region] = survey(region, *(one for one in sold if one.region == region))
    world.clouds.append(made)
    return made


def world_of(folder: Path) -> World:
    """A world without any cloud yet."""
    made = World(folder / "home", HandClock())
    made.clouds.clear()
    return made


def always(error: ProviderError, *, cloud_zones: tuple[str, ...] = ()) -> object:
    """A cloud's ``refuses``: this error for each offer, or for those in these zones."""
    return lambda one: error if not cloud_zones or one.zone in cloud_zones else None


def told(world: World, run: str = "run-1") -> list[tuple[str, str, str, str]]:
    """The attempts of a run: offer, outcome, our code, the vendor's code."""
    journal = world.journals[-1]
    return [(a.offer, a.outcome, a.error, a.code) for a in journal.attempts(run)]
