"""The machine image: Ubuntu with NVIDIA's driver for GPU types, plain Ubuntu for the rest."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import BadRequestError
from ...resources import Offer
from .clients import Google

GPU_FAMILIES = {
    "x86_64": (
        ("ubuntu-os-accelerator-images", "ubuntu-accelerator-2204-amd64-with-nvidia-580"),
        ("ubuntu-os-accelerator-images", "ubuntu-accelerator-2404-amd64-with-nvidia-580"),
        ("deeplearning-platform-release", "common-cu129-ubuntu-2204-nvidia-580"),
        ("deeplearning-platform-release", "common-cu128-ubuntu-2204-nvidia-570"),
    ),
    "arm64": (
        ("ubuntu-os-accelerator-images", "ubuntu-accelerator-2404-arm64-with-nvidia-580"),
        ("ubuntu-os-accelerator-images", "ubuntu-accelerator-2204-arm64-with-nvidia-580"),
    ),
}
"""(project, family) in the order to try; families are retired, so more than one is named. The
driver-only images come first: they are Ubuntu's own, with cloud-init, and a fifth of the size."""
PLAIN_FAMILIES = {
    "x86_64": (
        ("ubuntu-os-cloud", "ubuntu-2204-lts"),
        ("ubuntu-os-cloud", "ubuntu-2404-lts-amd64"),
    ),
    "arm64": (
        ("ubuntu-os-cloud", "ubuntu-2204-lts-arm64"),
        ("ubuntu-os-cloud", "ubuntu-2404-lts-arm64"),
    ),
}
_LINK = re.compile(r"(?:.*/)?projects/([^/]+)/global/images/(family/)?([^/]+)")


class Image(NamedTuple):
    """``link``: pins the version. ``size``: GB that a disk made of it has at least."""

    link: str
    size: int


def candidates(offer: Offer) -> tuple[tuple[str, str], ...]:
    """(project, family), best first."""
    families = GPU_FAMILIES if offer.gpu_count else PLAIN_FAMILIES
    return families.get(offer.arch or "x86_64", families["x86_64"])


def look_up(google: Google, offer: Offer, given: str = "") -> Image:
    """The newest image of the first family that exists; or of ``given``, the setting ``gcp.image``.

    Raises BadRequestError when there is none.
    """
    match = _LINK.fullmatch(given)
    if given and match is None:
        raise BadRequestError(
            f"gcp.image={given!r} names no image", provider="gcp", scope="cloud",
            hints=("Write projects/PROJECT/global/images/family/FAMILY.",),
        )  # fmt: skip
    if match is not None and not match[2]:
        found = google.find("images", "get", project=match[1], image=match[3])
        return _image(found, given)
    wanted = ((match[1], match[3]),) if match is not None else candidates(offer)
    for project, family in wanted:
        found = google.find("images", "get_from_family", project=project, family=family)
        if found is not None:
            break
    return _image(found, ", ".join("/".join(pair) for pair in wanted))


def _image(found: object, wanted: str) -> Image:
    if found is None:
        raise BadRequestError(
            f"no image to boot from: {wanted} does not exist", provider="gcp", scope="cloud",
            vendor_code="notFound", hints=("Name one with gcp.image in byoc.toml.",),
        )  # fmt: skip
    return Image(str(found.self_link), int(found.disk_size_gb))  # type: ignore[attr-defined]
