"""The native builder's plan: what an instance's agent has to do for an image, as plain data.

Each step that builds has a digest that chains on the one before, so that a change of step *k*
changes the digests from *k* on and no earlier one. Requirement files and copied files count by
content, variables without their order, and no credential of a URL counts at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidError
from . import mounts
from .checks import CREDENTIALS, blank_credentials
from .recipe import EnvStep, Image, LocalFiles, PipStep, WorkdirStep, step_method

FORMAT = 1
"""Part of every digest: raised when the same plan would build something else than before."""


@dataclass(frozen=True)
class PlanStep:
    """One ``uv pip install``.

    ``packages`` and the lines of ``requirements`` go in on stdin; ``constraints`` are texts of
    files; ``flags`` are options of uv; ``env`` are variables of this step, and hold index URLs.
    ``label``: the step for people, without credentials.
    """

    digest: str
    label: str
    packages: tuple[str, ...] = field(repr=False)
    requirements: tuple[str, ...] = field(repr=False)
    constraints: tuple[str, ...] = field(repr=False)
    flags: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As :mod:`byoc.runtime_agent.envbuild` takes it."""
        return {
            "op": "uv_pip",
            "digest": self.digest,
            "label": self.label,
            "packages": list(self.packages),
            "requirements": list(self.requirements),
            "constraints": list(self.constraints),
            "flags": list(self.flags),
            "env": dict(self.env),
        }


@dataclass(frozen=True)
class EnvPlan:
    """What to build, and what to run with.

    ``digest`` names the environment: image variables and folders set after the last install do not
    change it. ``key``: :attr:`Image.key`. ``layers``: (method, digest) of every step in order.
    ``candidates``: absolute paths of Pythons that the host may have. ``force``: build anew.
    """

    digest: str
    key: str
    python: str
    steps: tuple[PlanStep, ...]
    env: Mapping[str, str] = field(repr=False)
    workdir: str
    force: bool
    layers: tuple[tuple[str, str], ...]
    candidates: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan for the agent: ``{"digest", "python", "steps", "env", "workdir", ...}``."""
        return {
            "digest": self.digest,
            "key": self.key,
            "python": self.python,
            "steps": [step.to_json() for step in self.steps],
            "env": dict(self.env),
            "workdir": self.workdir,
            "force": self.force,
            "candidates": list(self.candidates),
        }


def plan(image: Image, *, local_python: str, candidates: Sequence[str] = ()) -> EnvPlan:
    """The plan of ``image``. Reads requirement files and files added with ``copy=True``.

    ``local_python``: the client's version, for images that name none. Raises
    :class:`InvalidError` for a local file that is not there or cannot be sent.
    """
    python = image.python_version or ".".join(local_python.split(".")[:2])
    digest = _digest("python", FORMAT, python)
    layers = [("debian_slim", digest)]
    env: dict[str, str] = {}
    workdir = ""
    steps: list[PlanStep] = []
    copied: list[list[Any]] = []
    built = digest
    for step in image.steps:
        if isinstance(step, EnvStep):
            env.update(step.variables)
        elif isinstance(step, WorkdirStep):
            workdir = step.path
        elif isinstance(step, LocalFiles):
            if not step.copy:
                continue
            copied += [[e.path, e.digest, e.mode] for e in mounts.for_step(step)]
        state = [sorted(env.items()), workdir, copied]
        if isinstance(step, PipStep):
            steps.append(_pip(step, built, state, env))
            built = digest = steps[-1].digest
        else:
            digest = _digest(built, "state", *state)
        layers.append((step_method(step), digest))
    return EnvPlan(
        digest=built,
        key=image.key,
        python=python,
        steps=tuple(steps),
        env=env,
        workdir=workdir,
        force=image.force_build,
        layers=tuple(layers),
        candidates=tuple(candidates),
    )


def _pip(step: PipStep, before: str, state: list[Any], env: Mapping[str, str]) -> PlanStep:
    lines, constraints = _requirements(step.requirements)
    flags = ["--prerelease", "allow"] if step.pre else []
    flags += step.extra_options
    variables = {**env, **dict(step.env)}
    label = " ".join([step.method, *step.packages])
    label += "".join(f" -r {os.path.basename(path)}" for path in step.requirements)
    label = " ".join([label, *flags])
    # Through variables and not options, because the command line is for all to see.
    for value, option, variable in (
        (step.index_url, "--default-index", "UV_DEFAULT_INDEX"),
        (step.extra_index_url, "--index", "UV_EXTRA_INDEX_URL"),
        (step.find_links, "--find-links", "UV_FIND_LINKS"),
    ):
        if value is not None:
            variables[variable] = value
            label += f" {option} {blank_credentials(value)}"
    what = [step.packages, lines, constraints, flags, sorted(variables.items())]
    return PlanStep(
        digest=_digest(before, "uv_pip", *state, *what),
        label=blank_credentials(label),
        packages=step.packages,
        requirements=tuple(lines),
        constraints=tuple(constraints),
        flags=tuple(flags),
        env=variables,
    )


def _requirements(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The lines of requirement files, with the files that they include, and constraint texts."""
    lines: list[str] = []
    constraints: list[str] = []
    for path in paths:
        _include(Path(path), lines, constraints, ())
    return lines, constraints


def _include(path: Path, lines: list[str], constraints: list[str], above: tuple[Path, ...]) -> None:
    if path in above:
        raise InvalidError(f"the requirements file {str(path)!r} includes itself")
    for line in _read(path).splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        option, _, value = text.replace("=", " ", 1).partition(" ")
        value = value.split(" #")[0].strip()
        local = "://" not in value
        if option in ("-r", "--requirement") and local:
            _include(path.parent / value, lines, constraints, (*above, path))
        elif option in ("-c", "--constraint") and local:
            constraints.append(_read(path.parent / value))
        elif option in ("-e", "--editable") or text.startswith((".", "/")):
            raise InvalidError(
                f"the requirements file {str(path)!r} installs from a local folder: {text}",
                hints=("bring your own source by add_local_python_source('package')",),
            )
        else:
            lines.append(line.rstrip())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidError(f"there is no requirements file {str(path)!r}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidError(f"the requirements file {str(path)!r} cannot be read: {exc}") from exc


def _digest(*parts: Any) -> str:
    text = CREDENTIALS.sub("://", json.dumps(parts, sort_keys=True))
    return hashlib.sha256(text.encode()).hexdigest()
