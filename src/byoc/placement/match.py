"""Does one offer hold what is asked for? Used for new rungs and for warm instances alike."""

from __future__ import annotations

from ..resources import GpuRequest, Offer, Resources
from ..settings import LOCAL

ARM = "arm64"
_ANY_OF = {"B200+": ("B200", "B300"), "A10": ("A10", "A10G"), "A10G": ("A10", "A10G")}
"""GPU names that stand for more than one: "this or newer" (Modal's ``B200+``), and Modal's ``A10``,
once called ``A10G``: a cloud has one or the other."""

_KNOWN_AS = {"A10G": "A10"}
"""GPUs that a request may mean by another name, as in Modal: AWS's A10G is an A10."""


def gpu_rank(resources: Resources, offer: Offer) -> int | None:
    """Which of the acceptable GPUs the offer holds (0 is the best liked); None when none.

    Without a GPU in the request every offer ranks 0: one that has GPUs nobody asked for is only
    more expensive.
    """
    if not resources.gpus:
        return 0
    for rank, wanted in enumerate(resources.gpus):
        if offer.gpu_count >= wanted.count and is_gpu(wanted, offer.gpu):
            return rank
    return None


def is_gpu(wanted: GpuRequest, held: str) -> bool:
    """``A100`` accepts each A100 whatever its memory; ``H100!`` is exactly an H100."""
    if not held:
        return False
    if wanted.name == "any":
        return True
    if wanted.name in _ANY_OF:
        return held in _ANY_OF[wanted.name]
    if wanted.name.endswith("!"):
        return held == wanted.name[:-1]
    held = _KNOWN_AS.get(held, held)
    return held == wanted.name or held.startswith(wanted.name + "-")


def named(resources: Resources, held: str) -> bool:
    """Whether this GPU was asked for by its name, not only by ``any``."""
    return any(wanted.name != "any" and is_gpu(wanted, held) for wanted in resources.gpus)


def refusal(resources: Resources, offer: Offer) -> str:
    """Why the offer cannot hold the request, in a few words; empty when it can."""
    if resources.gpus and gpu_rank(resources, offer) is None:
        return _gpu_refusal(resources, offer)
    if offer.arch == ARM and offer.cloud != LOCAL and not named(resources, offer.gpu):
        return "is arm64, which is taken only for a GPU that no other machine has"
    if offer.cpus < resources.cpu:
        return f"has {offer.cpus:g} CPUs, asked for {resources.cpu:g}"
    if offer.memory < resources.memory:
        return f"has {offer.memory} MiB of memory, asked for {resources.memory}"
    if 0 < offer.disk < resources.disk:  # 0: a disk of the size that is asked for comes with it
        return f"has {offer.disk} MiB of disk, asked for {resources.disk}"
    return ""


def _gpu_refusal(resources: Resources, offer: Offer) -> str:
    asked = " or ".join(str(one) for one in resources.gpus)
    if not offer.gpu_count:
        return f"has no {asked} (it has no GPU)"
    held = GpuRequest(offer.gpu, offer.gpu_count)
    if any(is_gpu(wanted, offer.gpu) for wanted in resources.gpus):
        return f"has {held}, asked for {asked}"
    return f"has no {asked} (it has {held})"
