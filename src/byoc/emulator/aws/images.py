"""The public machine images of every region, and the parameters that name the current ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from moto.ec2.models.amis import Ami

DATE = "20261101"
"""When the images were made, as their names tell."""


class Public(NamedTuple):
    """A public image. ``size``: GiB of its root disk."""

    parameter: str
    owner: str
    name: str
    arch: str
    size: int


_DEEP = "/aws/service/deeplearning/ami"
_UBUNTU = "/aws/service/canonical/ubuntu/server"
IMAGES: tuple[Public, ...] = (
    *(
        Public(
            f"{_DEEP}/x86_64/base-oss-nvidia-driver-gpu-ubuntu-{version}/latest/ami-id",
            "898082745236",
            f"Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu {version}) {DATE}",
            "x86_64",
            75,
        )
        for version in ("22.04", "24.04")
    ),
    *(
        Public(
            f"{_DEEP}/arm64/base-oss-nvidia-driver-gpu-ubuntu-{version}/latest/ami-id",
            "898082745236",
            f"Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu {version}) {DATE}",
            "arm64",
            75,
        )
        for version in ("22.04", "24.04")
    ),
    *(
        Public(
            f"{_UBUNTU}/{version}/stable/current/{arch}/hvm/ebs-{disk}/ami-id",
            "099720109477",
            f"ubuntu/images/{kind}/ubuntu-{name}-{version}-{arch}-server-{DATE}",
            {"amd64": "x86_64", "arm64": "arm64"}[arch],
            8,
        )
        for version, name, disk, kind in (
            ("22.04", "jammy", "gp2", "hvm-ssd"),
            ("24.04", "noble", "gp3", "hvm-ssd-gp3"),
        )
        for arch in ("amd64", "arm64")
    ),
)


class PublicAmi(Ami):
    """An image with a root disk of its own size, which moto's have not."""

    size = 8

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """The root disk."""
        disk = {
            "SnapshotId": self.ebs_snapshot.id,
            "VolumeSize": self.size,
            "DeleteOnTermination": True,
            "VolumeType": "gp3",
            "Encrypted": False,
        }
        return [{"DeviceName": self.root_device_name, "Ebs": disk}]


def ami_id(region: str, image: Public) -> str:
    """The id of an image in a region: another one in each."""
    return "ami-" + hashlib.sha256(f"{region}/{image.name}".encode()).hexdigest()[:17]


def publish(backend: Any) -> None:
    """Make the public images known in a region."""
    for image in IMAGES:
        own = ami_id(backend.region_name, image)
        made = PublicAmi(
            backend,
            own,
            name=image.name,
            description=image.name,
            owner_id=image.owner,
            owner_alias="amazon",
            public=True,
            virtualization_type="hvm",
            architecture=image.arch,
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name="/dev/sda1",
            image_location=f"amazon/{image.name}",
            boot_mode="uefi-preferred",
            region_name=f"{backend.region_name}a",
        )
        made.size = image.size
        backend.amis[own] = made


def parameters(region: str) -> Mapping[str, str]:
    """By public parameter, the image's id."""
    return {image.parameter: ami_id(region, image) for image in IMAGES}
