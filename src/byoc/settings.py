"""One merged configuration, and where each value came from.

Later sources win over earlier ones:

1. the built-in defaults (:mod:`byoc.limits` has the reason of each figure),
2. the user's file: ``byoc.toml`` in the platform's configuration folder, or in ``BYOC_HOME``,
3. the project's file: the nearest ``byoc.toml``, or ``[tool.byoc]`` of the nearest
   ``pyproject.toml`` that has one, from the working folder upward (``byoc.toml`` wins when one
   folder has both),
4. the environment: ``BYOC_IDLE=120`` sets ``idle``,
5. flags of the command line.

An unknown key or a value of the wrong type raises :class:`~byoc.errors.SettingsError`, which names
the file and the key. Start-up counts: nothing here imports a TOML reader or platformdirs unless a
file has to be read or a folder has to be found.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from . import limits
from .errors import InvalidError, SettingsError
from .resources import MARKETS, GpuRequest, parse_gpus

LOCAL = "local"
"""The provider that is this computer: what is used when no cloud is configured."""
FILE_NAME = "byoc.toml"
ENV_PREFIX = "BYOC_"
HOME_VARIABLE = "BYOC_HOME"
_NO_SETTINGS = frozenset({HOME_VARIABLE, "BYOC_INSTANCE"})
"""Read by others: the data folder, and what marks the processes of an instance."""
MOST_HEDGED = 8
"""Most offers asked for at once: each more makes a late start a little less likely and costs a
whole smallest bill."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Settings(NamedTuple):
    """Every setting, merged. Times in seconds, memory and disk in MiB, prices in dollars an hour.

    ``home``: the data folder (journal, keys, caches, logs, local instances). ``clouds``: the
    configured ones; empty means that this computer is the only choice. ``regions``: allowed ones;
    empty means all. ``market``: ``spot``, ``on-demand`` or None (either). ``gpu``, ``cpu``,
    ``memory``, ``disk``, ``timeout``: defaults for functions that do not say; None or empty leaves
    the SDK's own default. ``keep``: leave the instance warm for ``idle`` seconds after a run.
    ``exclude``: patterns of offers never taken, as in :class:`~byoc.resources.Resources`.
    ``lifetime``: seconds after which a cloud deletes an instance by itself, where it can.
    ``max_instances``: of this installation, that may live at a time.
    ``ingress``: networks that may reach instances by SSH; empty means this client's own address.
    ``public_address``: instances get one. ``jump``: ``USER@HOST[:PORT]`` through which they are
    reached, with its public key line (``jump_key``) and a private key file of the user's
    (``jump_identity``). A cloud may have these four, and ``ingress``, of its own.
    ``accept_gpus``: examine a new machine's GPUs before anything runs there. ``hedge``: so many
    offers are asked for at once when a run needs its first instance; the first sound one is kept.
    ``options``: each cloud's own settings, ``aws.profile`` and the like.
    """

    home: Path
    clouds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    market: str | None = None
    max_price: float | None = None
    gpu: tuple[GpuRequest, ...] = ()
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    timeout: float | None = None
    keep: bool = True
    idle: float = limits.IDLE_WINDOW
    lease: float = limits.LEASE
    boot_lease: float = limits.BOOT_LEASE
    boot_timeout: float = limits.BOOT_TIMEOUT
    connect_timeout: float = limits.CONNECT_TIMEOUT
    exclude: tuple[str, ...] = ()
    lifetime: float = limits.LIFETIME
    max_instances: int = limits.MAX_INSTANCES
    ingress: tuple[str, ...] = ()
    public_address: bool = True
    jump: str = ""
    jump_key: str = ""
    jump_identity: str = ""
    accept_gpus: bool = True
    hedge: int = 1
    options: Mapping[str, str] = MappingProxyType({})
    origins: Mapping[str, str] = MappingProxyType({})

    def used_clouds(self) -> tuple[str, ...]:
        """The configured clouds, or this computer when there are none."""
        return self.clouds or (LOCAL,)

    def of_cloud(self, name: str) -> dict[str, str]:
        """The options of one cloud by their short names, its own before those of all: ``ingress``
        as a comma list, ``public_address`` as ``true`` or ``false``, what is not set left out."""
        found = {
            "ingress": ",".join(self.ingress),
            "public_address": "" if self.public_address else "false",
            "jump": self.jump,
            "jump_key": self.jump_key,
            "jump_identity": self.jump_identity,
        }
        for key, value in self.options.items():
            cloud, _, option = key.partition(".")
            if cloud == name:
                found[option] = value
        return {option: value for option, value in found.items() if value}

    def origin(self, key: str) -> str:
        """Where the value of ``key`` came from: ``default``, a file's path, ``BYOC_X`` or a flag.

        Raises :class:`SettingsError` for a key that does not exist.
        """
        if key not in KEYS:
            raise _unknown(key, "settings")
        return self.origins.get(key, "default")


# --- values ---------------------------------------------------------------------------------
# A reader turns what a file, a variable or a flag holds into the setting's value, or raises
# ValueError with what the value must be.


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("must be a text")


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, (list, tuple)) and all(isinstance(part, str) for part in parts):
        return tuple(part.strip() for part in parts if part.strip())
    raise ValueError("must be a list of names")


def _market(value: object) -> str:
    if value in MARKETS:
        return str(value)
    raise ValueError(f"must be one of {', '.join(MARKETS)}")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    lowered = value.strip().lower() if isinstance(value, str) else ""
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise ValueError("must be true or false")


def _networks(value: object) -> tuple[str, ...]:
    import ipaddress  # deferred: 4 ms that only this setting needs

    try:
        return tuple(str(ipaddress.ip_network(one)) for one in _names(value))
    except ValueError as error:
        raise ValueError(f"must be networks such as 203.0.113.7/32 ({error})") from None


def _network_list(value: object) -> str:
    return ",".join(_networks(value))


def _flag_word(value: object) -> str:
    return "true" if _flag(value) else "false"


def jump_parts(text: str) -> tuple[str, str, int]:
    """User, host and port of ``USER@HOST[:PORT]``; an IPv6 address stands in brackets. Raises
    ValueError."""
    user, at, place = text.partition("@")
    host, colon, port = place, "", ""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    elif place.count(":") == 1:
        host, colon, port = place.partition(":")
    bad = set(user + host) & set(" \t'\"\\$`%") or user.startswith("-") or host.startswith("-")
    if not (user and at and host) or bad or colon not in ("", ":") or (colon and not port):
        raise ValueError("must be USER@HOST or USER@HOST:PORT")
    return user, host, int(_port(port)) if colon else 22


def _jump(value: object) -> str:
    text = _text(value)
    if text != "direct":
        jump_parts(text)
    return text


def _public_key(value: object) -> str:
    words = _text(value).split()
    if len(words) < 2 or words[0] != "ssh-ed25519":
        raise ValueError("must be a public key such as 'ssh-ed25519 AAAA...'")
    return " ".join(words[:2])


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"must be {what}")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"must be {what}") from None
    if not math.isfinite(number):
        raise ValueError(f"must be {what}")
    return number


def _seconds(value: object) -> float:
    what = "a number of seconds, or a text such as '90s', '10m' or '1h'"
    scale = 1.0
    if isinstance(value, str) and value.strip()[-1:].lower() in _UNITS:
        scale = _UNITS[value.strip()[-1].lower()]
        value = value.strip()[:-1]
    seconds = _number(value, what) * scale
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def _some_seconds(value: object) -> float:
    seconds = _seconds(value)
    if seconds < 1:
        raise ValueError("must be at least 1 second")
    return seconds


def _positive(value: object) -> float:
    number = _number(value, "a number above 0")
    if number <= 0:
        raise ValueError("must be above 0")
    return number


def _mib(value: object) -> int:
    number = _number(value, "a whole number of MiB")
    if number < 0 or number != int(number):
        raise ValueError("must be a whole number of MiB")
    return int(number)


def _count(value: object) -> int:
    number = _number(value, "a whole number above 0")
    if number < 1 or number != int(number):
        raise ValueError("must be a whole number above 0")
    return int(number)


def _hedge(value: object) -> int:
    number = _number(value, "a whole number")
    if not 1 <= number <= MOST_HEDGED or number != int(number):
        raise ValueError(f"must be a whole number from 1 to {MOST_HEDGED}")
    return int(number)


def _port(value: object) -> str:
    number = _number(value, "a port number")
    if not 0 < number < 65536 or number != int(number):
        raise ValueError("must be a port number")
    return str(int(number))


def _gpu(value: object) -> tuple[GpuRequest, ...]:
    if value is not None and not isinstance(value, (str, list, tuple)):
        raise ValueError("must be a GPU name or a list of them")
    if isinstance(value, tuple) and all(isinstance(one, GpuRequest) for one in value):
        return tuple(one for one in value if isinstance(one, GpuRequest))
    try:
        return parse_gpus(list(value) if isinstance(value, tuple) else value)
    except InvalidError as error:
        raise ValueError(f"is wrong: {error.message}") from None


class Key(NamedTuple):
    """One setting: how to read it and what it is. ``help`` is a line for ``byoc config``."""

    name: str
    read: Callable[[object], Any]
    help: str


KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        Key("clouds", _names, "clouds to rent from; none means this computer"),
        Key("regions", _names, "regions to rent in; none means all"),
        Key("market", _market, "'spot' or 'on-demand'; unset means either"),
        Key("max_price", _positive, "most dollars an hour for one instance"),
        Key("gpu", _gpu, "GPU for functions that name none, best first"),
        Key("cpu", _positive, "CPU cores for functions that name none"),
        Key("memory", _mib, "MiB of memory for functions that name none"),
        Key("disk", _mib, "MiB of disk for functions that name none"),
        Key("timeout", _some_seconds, "seconds one call may take"),
        Key("keep", _flag, "leave the instance warm after a run"),
        Key("idle", _seconds, "seconds an instance stays warm after a run"),
        Key("lease", _some_seconds, "seconds an instance lives without its client"),
        Key("boot_lease", _some_seconds, "seconds a booted instance waits for its first client"),
        Key("boot_timeout", _some_seconds, "seconds until an instance must be reachable"),
        Key("connect_timeout", _some_seconds, "seconds one connection attempt may take"),
        Key("exclude", _names, "offers never taken: oci, aws/us-east-1, gcp/*/*/a3-*"),
        Key("lifetime", _some_seconds, "seconds after which the cloud itself deletes an instance"),
        Key("max_instances", _count, "instances that may live at a time, warm ones included"),
        Key("ingress", _networks, "networks that may reach instances; none means this address"),
        Key("public_address", _flag, "instances get one; without, a jump host is needed"),
        Key("jump", _jump, "USER@HOST[:PORT] through which instances are reached, or 'direct'"),
        Key("jump_key", _public_key, "the jump host's own public key: ssh-ed25519 AAAA..."),
        Key("jump_identity", _text, "private key file for the jump host, instead of the agent"),
        Key("accept_gpus", _flag, "examine a new machine's GPUs before anything runs there"),
        Key("hedge", _hedge, "offers asked for at once for a run's first instance; 1 is no hedge"),
        Key("aws.profile", _text, "profile of AWS's own configuration"),
        Key("aws.endpoint", _text, "address of an emulated AWS"),
        Key("aws.image", _text, "machine image instead of the usual ones (ami-...)"),
        Key("aws.subnet", _text, "subnet to launch in, instead of the default ones"),
        Key("aws.security_group", _text, "security group, instead of one that byoc makes"),
        Key("aws.ssh_port", _port, "port of instances' SSH server"),
        Key("gcp.project", _text, "project to rent in"),
        Key("gcp.endpoint", _text, "address of an emulated Compute Engine"),
        Key("gcp.image", _text, "machine image: projects/P/global/images/family/F"),
        Key("gcp.key_file", _text, "service account's key, instead of Google's default log-in"),
        Key("gcp.network", _text, "network to launch in, instead of 'default'"),
        Key("gcp.service_account", _text, "account that instances act as; none unless named"),
        Key("gcp.ssh_port", _port, "port of instances' SSH server"),
        Key("oci.profile", _text, "profile of OCI's own configuration"),
        Key("oci.config_file", _text, "OCI's own configuration, instead of ~/.oci/config"),
        Key("oci.compartment", _text, "compartment to rent in, instead of the tenancy's root"),
        Key("oci.endpoint", _text, "address of an emulated OCI"),
        Key("oci.image", _text, "machine image instead of the usual ones (an OCID)"),
        Key("oci.subnet", _text, "subnet to launch in, instead of one that byoc makes"),
        Key("oci.ssh_port", _port, "port of instances' SSH server"),
        Key("home", _text, "the data folder; only BYOC_HOME sets it"),
        *(
            Key(f"{cloud}.{name}", read, f"as {name}, for this cloud alone")
            for cloud in ("aws", "gcp", "oci")
            for name, read in (
                ("ingress", _network_list),
                ("public_address", _flag_word),
                ("jump", _jump),
                ("jump_key", _public_key),
                ("jump_identity", _text),
            )
        ),
    )
}
"""Every setting by name."""


# --- merging --------------------------------------------------------------------------------


def load(
    cwd: Path, environ: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> Settings:
    """Merge all sources for a command started in ``cwd``.

    ``flags``: setting name -> value; None means not given. Raises :class:`SettingsError`.
    """
    home, home_origin = _home(cwd, environ)
    values: dict[str, Any] = {"home": home}
    origins: dict[str, str] = {"home": home_origin}
    for file, table in _files(cwd, environ, home):
        for raw, value in table.items():
            key = raw.replace("-", "_")
            if key == "home":
                raise SettingsError(
                    f"{file}: 'home' cannot be set in a file", hints=(f"set {HOME_VARIABLE}",)
                )
            for name, one in _flat(key, value):
                _put(values, origins, name, one, str(file))
    for key, variable, text in _variables(environ):
        _put(values, origins, key, text, variable)
    for raw, value in (flags or {}).items():
        if value is not None:
            key = raw.replace("-", "_")
            _put(values, origins, key, value, "--" + key.replace("_", "-"))
    options = {key: values.pop(key) for key in [*values] if "." in key}
    return Settings(origins=origins, options=options, **values)


def _flat(key: str, value: object) -> list[tuple[str, object]]:
    """A cloud's table as dotted settings; any other value as it is."""
    if isinstance(value, dict) and any(name.startswith(f"{key}.") for name in KEYS):
        return [(f"{key}.{str(name).replace('-', '_')}", one) for name, one in value.items()]
    return [(key, value)]


def _put(
    values: dict[str, Any], origins: dict[str, str], key: str, value: object, origin: str
) -> None:
    if key not in KEYS:
        raise _unknown(key, origin)
    try:
        values[key] = KEYS[key].read(value)
    except ValueError as error:
        shown = f"{origin}: '{key}'" if origin[:2] != "--" and origin[:5] != ENV_PREFIX else origin
        raise SettingsError(
            f"{shown} {error}, not {value!r}", hints=(f"'{key}' is {KEYS[key].help}",)
        ) from None
    origins[key] = origin


def _unknown(key: str, origin: str) -> SettingsError:
    close = _close(key)
    hint = f"did you mean '{close}'?" if close else f"the settings are: {', '.join(sorted(KEYS))}"
    return SettingsError(f"{origin}: there is no setting '{key}'", hints=(hint,))


def _close(key: str) -> str:
    """The setting that ``key`` probably means, or an empty text."""
    import difflib  # deferred: 1 ms that only a mistake needs

    return next(iter(difflib.get_close_matches(key, KEYS, 1, 0.75)), "")


def _variables(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """``(key, variable, text)`` for each set ``BYOC_*`` variable that is a setting.

    Other ``BYOC_*`` names belong to providers and to what runs inside instances, so an unknown one
    is an error only when it looks like a misspelt setting.
    """
    found = []
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or variable in _NO_SETTINGS:
            continue
        key, text = variable[len(ENV_PREFIX) :].lower(), environ[variable]
        if not text:
            continue
        dotted = key.replace("_", ".", 1)  # BYOC_AWS_SSH_PORT is aws.ssh_port
        if key in KEYS or dotted in KEYS:
            found.append((key if key in KEYS else dotted, variable, text))
        elif close := _close(key):
            raise SettingsError(
                f"the environment sets {variable}, which is no setting",
                hints=(f"did you mean {ENV_PREFIX}{close.replace('.', '_').upper()}?",),
            )
    return found


# --- places ---------------------------------------------------------------------------------


def data_folder(cwd: Callable[[], Path], environ: Mapping[str, str]) -> Path:
    """The ``home`` of :func:`load`, without reading any file. ``cwd``: asked for a relative one."""
    text = environ.get(HOME_VARIABLE, "")
    return _home(Path() if Path(text).is_absolute() or not text else cwd(), environ)[0]


def _home(cwd: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    text = environ.get(HOME_VARIABLE, "")
    if text:
        return (cwd / Path(text).expanduser()).absolute(), HOME_VARIABLE
    import platformdirs  # deferred: only needed when BYOC_HOME does not say

    return Path(platformdirs.user_data_dir("byoc", appauthor=False)), "default"


def _user_file(environ: Mapping[str, str], home: Path) -> Path:
    if environ.get(HOME_VARIABLE, ""):
        return home / FILE_NAME
    import platformdirs  # deferred, as in _home

    return Path(platformdirs.user_config_dir("byoc", appauthor=False)) / FILE_NAME


def _files(
    cwd: Path, environ: Mapping[str, str], home: Path
) -> list[tuple[Path, Mapping[str, Any]]]:
    """The settings files that exist, weakest first, each with its table."""
    user = _user_file(environ, home)
    table: Mapping[str, Any] | None = _toml(user)
    found: list[tuple[Path, Mapping[str, Any]]] = [] if table is None else [(user, table)]
    for folder in (cwd.absolute(), *cwd.absolute().parents):
        own = folder / FILE_NAME
        if own == user:
            continue
        table = _toml(own)
        if table is not None:
            return [*found, (own, table)]
        project = folder / "pyproject.toml"
        table = _tool_table(project)
        if table is not None:
            return [*found, (project, table)]
    return found


def _tool_table(path: Path) -> Mapping[str, Any] | None:
    document = _toml(path, only_with="byoc")
    if document is None:
        return None
    tool = document.get("tool")
    table: dict[str, Any] | None = tool.get("byoc") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{path}: 'tool.byoc' must be a table")
    return table


def _toml(path: Path, only_with: str = "") -> dict[str, Any] | None:
    """The parsed file; None when it does not exist or lacks the text ``only_with``."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}", hints=("check its permissions",)
        ) from error
    if only_with.encode() not in data:
        return None
    if sys.version_info >= (3, 11):  # deferred: 3 ms that only a file needs
        import tomllib as reader
    else:
        import tomli as reader  # the same reader, for Python 3.10
    try:
        document: dict[str, Any] = reader.loads(data.decode("utf-8"))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise SettingsError(f"{path} is not TOML: {error}") from None
    return document
