"""``byoc config``: the merged settings, and where each value came from."""

from __future__ import annotations

from typing import Any

from ...settings import KEYS, Settings
from .. import context
from ..command import command
from ..console import Console


@command(quick=True)
def config(console: Console) -> int:
    """Show every setting, its value and where the value comes from.

    Later sources win: defaults, the user's byoc.toml, the project's byoc.toml or pyproject.toml,
    BYOC_* variables, flags.
    """
    settings = context.merged()
    if console.as_json:
        found = {
            name: {"value": _plain(_value(settings, name)), "origin": settings.origin(name)}
            for name in KEYS
        }
        console.json_object("config", 0, {"settings": found})
        return 0
    rows = [(name, _shown(settings, name), settings.origin(name)) for name in KEYS]
    console.table(("SETTING", "VALUE", "FROM"), rows)
    return 0


def _value(settings: Settings, name: str) -> Any:
    """A setting's value; a cloud's own (``aws.profile``) is None where it is not set."""
    return settings.options.get(name) if "." in name else getattr(settings, name)


def _plain(value: Any) -> Any:
    """As JSON can hold it: GPUs and paths as texts."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _shown(settings: Settings, name: str) -> str:
    value = _plain(_value(settings, name))
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
