"""Function specs for tests that run nothing."""

from __future__ import annotations

from typing import Any

from byoc.engine.spec import FunctionSpec, RetryPolicy, Source
from byoc.images.recipe import Image
from byoc.resources import Resources


def spec(retries: int = 0, cpu: float = 1.0, **changes: Any) -> FunctionSpec:
    """A function ``f`` that may fail ``retries`` times per input."""
    given: dict[str, Any] = {
        "app": "app",
        "name": "f",
        "raw": spec,
        "source": Source("module", "f", None),
        "image": Image.debian_slim(),
        "resources": Resources(cpu=cpu),
        "environ": dict,
        "timeout": 300.0,
        "startup_timeout": 300.0,
        "retries": RetryPolicy(retries, initial_delay=2.0, backoff=3.0) if retries else None,
    }
    return FunctionSpec(**{**given, **changes})
