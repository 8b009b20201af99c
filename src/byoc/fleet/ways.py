"""How machines of a cloud are reached: at a public address, or at a private one by a jump host.

What the settings lack for it is found here, before anything is asked of a cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import SettingsError
from ..settings import LOCAL, Settings, jump_parts
from ..transport import knownhosts
from ..transport.jump import Jump

DIRECT = "direct"
"""As the setting ``jump``: this computer is in the machines' own network (a VPN)."""
KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))


class Way(NamedTuple):
    """``public``: machines get a public address. ``jump``: what they are reached through."""

    public: bool = True
    jump: Jump | None = None


class Ways:
    """The ways of one configuration, each made out once."""

    def __init__(self, settings: Settings, files: tuple[Path, ...] = KNOWN_HOSTS) -> None:
        self._settings = settings
        self._files = files
        self._known: dict[str, Way] = {}

    def __call__(self, cloud: str) -> Way:
        """The way to a cloud's machines. Raises SettingsError when a part of it is missing."""
        if cloud not in self._known:
            self._known[cloud] = self._make(cloud)
        return self._known[cloud]

    def _make(self, cloud: str) -> Way:
        if cloud in ("", LOCAL):
            return Way()
        options = self._settings.of_cloud(cloud)
        public, given = options.get("public_address") != "false", options.get("jump", "")
        if public and not given:
            return Way()
        if not given:
            raise SettingsError(
                f"{cloud}: instances without a public address need a jump host, and none is set",
                hints=(
                    "set jump to USER@HOST[:PORT], a host of yours in the instances' network",
                    f"or to {DIRECT!r} when this computer is in that network, as by a VPN",
                ),
            )
        if not options.get("ingress"):
            raise SettingsError(
                f"{cloud}: the networks from which instances are reached are not set",
                hints=("set ingress to the private address of the jump host, as 10.0.0.5/32",),
            )
        if given == DIRECT:
            return Way(public)
        user, host, port = jump_parts(given)
        key = options.get("jump_key", "") or self._look_up(host, port)
        return Way(public, Jump(user, host, port, key, options.get("jump_identity", "")))

    def _look_up(self, host: str, port: int) -> str:
        """The host's key as OpenSSH on this computer knows it. Raises SettingsError."""
        found = knownhosts.find(_lines(self._files), host, port)
        if len(found) == 1:
            return found[0]
        what = "several ed25519 keys are" if found else "no ed25519 key is"
        asked = f"ssh-keyscan -t ed25519 {'' if port == 22 else f'-p {port} '}{host}"
        raise SettingsError(
            f"{what} known for the jump host {host}, and an unknown host is never connected to",
            hints=(
                "set jump_key to its line of /etc/ssh/ssh_host_ed25519_key.pub",
                f"or compare what `{asked}` prints with that file, and set that",
            ),
        )


def _lines(files: tuple[Path, ...]) -> list[str]:
    lines: list[str] = []
    for path in files:
        try:
            lines += path.expanduser().read_text("utf-8", "replace").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    return lines


WayOf = Callable[[str], Way]
"""The way to a cloud's machines, by its name. Raises SettingsError."""
