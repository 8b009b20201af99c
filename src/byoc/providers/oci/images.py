"""Which image boots a shape.

GPU shapes boot Oracle's own Linux 9 with the NVIDIA driver in it (``-Gen2-GPU-`` in the name); the
same of version 8 is left out, because its Python is too old for byoc's agent. All others boot plain
Ubuntu. Both run cloud-init.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ...errors import NotOfferedError
from ...resources import Offer
from ..prepared import Prepared
from .clients import Account, pages
from .codes import CLOUD, SHORT, translated
from .shapes import parse

_GPU = re.compile(r"Oracle-Linux-(?:9|[1-9]\d)\.\d+.*-Gen2-GPU-")
_PLAIN = (
    re.compile(r"Canonical-Ubuntu-24\.04-(?:aarch64-)?\d"),
    re.compile(r"Canonical-Ubuntu-22\.04-(?:aarch64-)?\d"),
)
"""Best first. Minimal images are left out: they lack what users' system packages build on."""


class Image(NamedTuple):
    """An image. ``size``: GB of the smallest boot volume it fits on."""

    id: str
    name: str
    size: int


class Images:
    """Finds images, once for each region and shape, so that a launch that is tried again is the
    same request. Safe from any thread. ``chosen``: the setting ``oci.image``, or empty."""

    def __init__(self, account: Account, chosen: str = "") -> None:
        self._account = account
        self._chosen = chosen
        self._known: Prepared[str, Image] = Prepared()

    def find(self, offer: Offer) -> Image:
        """The image for an offer. Raises ProviderError: NotOfferedError when none boots there."""
        shape = parse(offer.type).name
        where = f"{offer.region}/{shape}"
        return self._known.get(where, self._chosen, lambda: self._ask(offer, shape))[0]

    def forget(self) -> None:
        """Look again next time: what was found may be gone."""
        self._known.forget()

    def _ask(self, offer: Offer, shape: str) -> Image:
        client = self._account.client("compute", offer.region)
        if self._chosen:
            with translated():
                return _image(client.get_image(self._chosen).data)
        system = "Oracle Linux" if offer.gpu_count else "Canonical Ubuntu"
        found = pages(
            client.list_images,
            self._account.compartment,
            operating_system=system,
            shape=shape,
            lifecycle_state="AVAILABLE",
            sort_by="TIMECREATED",
            sort_order="DESC",
        )
        best = choose([_image(one) for one in found], bool(offer.gpu_count))
        if best is None:
            what = "image with NVIDIA's driver" if offer.gpu_count else "Ubuntu image"
            raise NotOfferedError(
                f"there is no {what} for {shape} in {offer.region}",
                provider=CLOUD,
                scope="type@zone",
                remember=SHORT,
                hints=("Name an image of your own with the setting oci.image.",),
            )
        return best


def choose(images: list[Image], gpu: bool) -> Image | None:
    """The best of these, newest first; None when none will do."""
    for pattern in (_GPU,) if gpu else _PLAIN:
        for image in images:
            if pattern.match(image.name):
                return image
    return None


def _image(raw: Any) -> Image:
    return Image(raw.id, str(raw.display_name), -(-int(raw.size_in_mbs or 0) // 1024))
