"""Which machine image to boot: one with NVIDIA's driver for GPUs, plain Ubuntu for the rest.

AWS and Canonical publish the current image of each region as a public SSM parameter; where there is
none, or no permission to read it, the newest image of the same publisher is looked for by name.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from ...errors import BadRequestError, ProviderError
from ...resources import Offer
from .clients import Clients, refused


class Image(NamedTuple):
    """An image in a region. ``device``: its root disk's name; ``size``: GiB that it needs."""

    id: str
    device: str
    size: int


class Source(NamedTuple):
    """Where an image is found: a public parameter, else the newest of ``owner`` by name."""

    parameter: str
    owner: str
    name: str


DEEP_LEARNING = "898082745236"
"""The account that publishes AWS's Deep Learning AMIs."""
CANONICAL = "099720109477"
"""The account that publishes Ubuntu."""
SOURCES: dict[tuple[bool, str], Source] = {
    (True, "x86_64"): Source(
        "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
        DEEP_LEARNING,
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *",
    ),
    (True, "arm64"): Source(
        "/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
        DEEP_LEARNING,
        "Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *",
    ),
    (False, "x86_64"): Source(
        "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
        CANONICAL,
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*",
    ),
    (False, "arm64"): Source(
        "/aws/service/canonical/ubuntu/server/22.04/stable/current/arm64/hvm/ebs-gp2/ami-id",
        CANONICAL,
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-*",
    ),
}
"""By (with a GPU, architecture)."""
_Key = tuple[str, bool, str]  # region, with a GPU, architecture
_NO_PARAMETER = ("ParameterNotFound", "AccessDeniedException", "AccessDenied")


class Images:
    """The images in use, looked up once for each region and kind. Safe from any thread.

    ``chosen``: the setting ``aws.image``, or empty.
    """

    def __init__(self, clients: Clients, chosen: str) -> None:
        self._clients = clients
        self._chosen = chosen
        self._lock = threading.Lock()
        self._locks: dict[_Key, threading.Lock] = {}
        self._known: dict[_Key, Image] = {}

    def find(self, offer: Offer) -> tuple[Image, bool]:
        """The image for an offer, and whether it was known before. Raises ProviderErrors."""
        key = (offer.region, offer.gpu_count > 0, offer.arch or "x86_64")
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # of many launches at once one looks it up
            if (known := self._known.get(key)) is not None:
                return known, True
            image = self._look_up(*key)
            with self._lock:
                self._known[key] = image
            return image, False

    def forget(self, region: str) -> None:
        """What was found in a region is out of date."""
        with self._lock:
            self._known = {key: one for key, one in self._known.items() if key[0] != region}

    def _look_up(self, region: str, gpu: bool, arch: str) -> Image:
        if self._chosen:
            return self._describe(region, self._chosen)
        if (gpu, arch) not in SOURCES:
            raise BadRequestError(f"there is no image for {arch}", provider="aws", scope="offer")
        source = SOURCES[gpu, arch]
        try:
            answer = self._clients.call("ssm", region, "get_parameter", Name=source.parameter)
        except ProviderError as error:
            if not refused(error, *_NO_PARAMETER):
                raise
            return self._newest(region, source)
        return self._describe(region, answer["Parameter"]["Value"])

    def _describe(self, region: str, id: str) -> Image:
        found = self._clients.call("ec2", region, "describe_images", ImageIds=[id])["Images"]
        if not found:
            raise _missing(region, id)
        return _image(found[0])

    def _newest(self, region: str, source: Source) -> Image:
        found = self._clients.call(
            "ec2", region, "describe_images", Owners=[source.owner],
            Filters=[
                {"Name": "name", "Values": [source.name]},
                {"Name": "state", "Values": ["available"]},
            ],
        )["Images"]  # fmt: skip
        if not found:
            raise _missing(region, source.name)
        return _image(max(found, key=lambda one: str(one["CreationDate"])))


def _image(found: dict[str, Any]) -> Image:
    device = found.get("RootDeviceName", "/dev/sda1")
    sizes = [
        one.get("Ebs", {}).get("VolumeSize", 0)
        for one in found.get("BlockDeviceMappings", ())
        if one.get("DeviceName") == device
    ]
    return Image(found["ImageId"], device, max(sizes, default=0))


def _missing(region: str, name: str) -> BadRequestError:
    return BadRequestError(
        f"there is no image {name} in {region}",
        provider="aws",
        vendor_code="InvalidAMIID.NotFound",
        scope="region",
        hints=("Name an image of this region in the setting aws.image.",),
    )
