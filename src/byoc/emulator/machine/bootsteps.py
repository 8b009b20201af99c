"""Boot data becomes the steps that a machine's init takes, in cloud-init's order.

Understood of a cloud-config: what byoc's own boot data uses, and what people commonly write beside
it. Everything else is named on the machine's console, so that a rehearsal does not pass over it.
"""

from __future__ import annotations

import base64
import binascii
import email
import gzip
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DEFAULT_USER = "ubuntu"
"""Whom the images of the emulated clouds log in by default."""
_IGNORED = frozenset(
    [
        *("ssh_deletekeys", "ssh_genkeytypes", "ssh_quiet_keygen", "ssh_publish_hostkeys"),
        *("no_ssh_fingerprints", "ssh_pwauth", "ssh_fp_console_blacklist", "package_update"),
        *("package_upgrade", "package_reboot_if_required", "growpart", "resize_rootfs"),
        *("manage_etc_hosts", "preserve_hostname", "locale", "timezone", "output", "merge_how"),
        *("merge_type", "final_message", "datasource_list", "datasource", "disable_root_opts"),
        *("manage_resolv_conf", "prefer_fqdn_over_hostname", "network", "updates"),
        *("apt_preserve_sources_list", "create_hostname_file", "disable_root"),
    ]
)
"""Keys that change nothing here: they are about what the machine does not have, or are what it does
anyway."""
_ROOT_REFUSED = (
    "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo 'Please login as the "
    f'user \\"{DEFAULT_USER}\\" rather than the user \\"root\\".\';echo;sleep 10;exit 142" '
)
_SUDO = "ALL=(ALL) NOPASSWD:ALL"
_SHELL = "/bin/bash"
_MODE = 0o644

Step = dict[str, Any]


def steps(user_data: str, keys: Sequence[str], name: str, console: str) -> list[Step]:
    """All steps of a first boot. ``keys``: public key lines that the cloud itself hands out.

    ``name``: the host name unless the boot data says another. ``console``: printed at the end.
    """
    notes: list[str] = []
    config: dict[str, Any] = {}
    scripts: list[str] = []
    for kind, text in _parts(user_data, notes):
        if kind == "script":
            scripts.append(text)
        else:
            config.update(_yaml(text, notes))
    reader = _Config(config, notes)
    late = [_run(f"part-{n:03d}", text) for n, text in enumerate(scripts, 1)]
    found = [
        *reader.commands("bootcmd"),
        *reader.files(deferred=False),
        *reader.hostname(name),
        *reader.users(),
        *reader.host_keys(),
        *reader.authorized(keys),
        {"do": "open"},
        *reader.files(deferred=True),
        *late,
        *reader.commands("runcmd"),
        *reader.power(),
    ]
    reader.rest()
    told = [{"do": "say", "text": f"cloud-init: {note}"} for note in notes]
    end = [{"do": "say", "text": console}] if console else []
    return [*told, *found, *end]


def again(steps: Sequence[Step]) -> list[Step]:
    """The steps of a later boot of the same disk: ``bootcmd`` and letting people in."""
    return [
        step
        for step in steps
        if step["do"] in ("open", "hostname") or step.get("label") == "bootcmd"
    ]


def _parts(user_data: str, notes: list[str]) -> list[tuple[str, str]]:
    """(``script`` or ``config``, text) of each part; a MIME archive has several."""
    text = user_data.lstrip("\ufeff")
    if text.lstrip().lower().startswith(("content-type:", "mime-version:")):
        message = email.message_from_string(text)
        found = []
        for part in message.walk():
            if part.get_content_maintype() != "multipart":
                payload = part.get_payload(decode=True)
                inner = payload.decode(errors="replace") if isinstance(payload, bytes) else ""
                found += _parts(inner, notes)
        return found
    if text.startswith("#!"):
        return [("script", text)]
    if text.startswith("#cloud-config"):
        return [("config", text)]
    if text.strip():
        notes.append(f"Unhandled non-multipart (text/x-not-multipart) userdata: {text[:24]!r}...")
    return []


def _yaml(text: str, notes: list[str]) -> Mapping[str, Any]:
    import yaml  # third party, of the extra "emulator"; only machines need it

    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        notes.append(f"Failed loading yaml blob: {error}")
        return {}
    if isinstance(loaded, dict):
        return {str(key): value for key, value in loaded.items()}
    notes.append("Failed loading yaml blob: a cloud-config is a mapping")
    return {}


class _Config:
    """A cloud-config whose keys are read one by one. ``notes``: what cannot be done."""

    def __init__(self, config: Mapping[str, Any], notes: list[str]) -> None:
        self._config = dict(config)
        self._notes = notes
        self._read = set(_IGNORED)

    def _get(self, key: str, usual: Any) -> Any:
        self._read.add(key)
        value = self._config.get(key)
        if value is None:
            return usual
        if not isinstance(value, type(usual)):
            self._notes.append(f"{key}: expected {type(usual).__name__}, it is left out")
            return usual
        return value

    def commands(self, key: str) -> list[Step]:
        """``bootcmd`` or ``runcmd``: all of it is one shell script, as in cloud-init."""
        lines = ["#!/bin/sh"]
        for command in self._get(key, []):
            if isinstance(command, str):
                lines.append(command)
            elif isinstance(command, list):
                lines.append(" ".join(shlex.quote(str(word)) for word in command))
            else:
                self._notes.append(f"{key}: {command!r} is neither a text nor a list")
        return [_run(key, "\n".join(lines) + "\n")] if len(lines) > 1 else []

    def files(self, deferred: bool) -> list[Step]:
        """``write_files``, those of early or of late in the boot."""
        found = []
        for one in self._get("write_files", []):
            if isinstance(one, dict) and bool(one.get("defer")) == deferred:
                found += self._file(one)
        return found

    def _file(self, one: Mapping[str, Any]) -> list[Step]:
        try:
            path = str(one["path"])
            content = _decoded(one.get("content", ""), str(one.get("encoding") or ""))
            mode = _mode(one.get("permissions"))
        except (KeyError, ValueError, OSError, EOFError) as error:
            self._notes.append(f"write_files: {one.get('path', '?')}: {error!r}")
            return []
        owner = str(one.get("owner") or "")
        return [_file(path, content, mode, owner, bool(one.get("append")))]

    def hostname(self, name: str) -> list[Step]:
        """``hostname`` or ``fqdn``, else the instance's name."""
        short = self._get("hostname", "") or self._get("fqdn", "").split(".")[0] or name
        text = f"127.0.0.1 localhost\n127.0.1.1 {short}\n169.254.169.254 metadata.google.internal\n"
        return [
            _file("/etc/hostname", f"{short}\n".encode()),
            _file("/etc/hosts", text.encode()),
            {"do": "hostname", "name": short},
        ]

    def users(self) -> list[Step]:
        """``users``; without it there is the image's default user."""
        found = []
        for one in self._get("users", ["default"]):
            if one == "default":
                found.append(_user(DEFAULT_USER, sudo=_SUDO))
            elif isinstance(one, str):
                found.append(_user(one))
            elif isinstance(one, dict) and one.get("name"):
                found += self._one_user(one)
            else:
                self._notes.append(f"users: {one!r} has no name")
        return found

    def _one_user(self, one: Mapping[str, Any]) -> list[Step]:
        name, rules = str(one["name"]), one.get("sudo") or ""
        sudo = " ".join(map(str, rules)) if isinstance(rules, list) else str(rules)
        shell, home = str(one.get("shell") or _SHELL), str(one.get("homedir") or "")
        found = [_user(name, sudo, shell, home)]
        lines = one.get("ssh_authorized_keys") or one.get("ssh-authorized-keys") or []
        if lines:
            found.append(_authorize(name, [lines] if isinstance(lines, str) else lines))
        return found

    def host_keys(self) -> list[Step]:
        """``ssh_keys``; a machine that is given none makes its own."""
        found: list[Step] = []
        kinds = []
        for key, text in self._get("ssh_keys", {}).items():
            kind, _, half = str(key).partition("_")
            path = f"/etc/ssh/ssh_host_{kind}_key"
            if half == "private":
                kinds.append(kind)
                found.append(_file(path, _line(text), 0o600))
            elif half == "public":
                found.append(_file(path + ".pub", _line(text)))
            else:
                self._notes.append(f"ssh_keys: {key!r} is not known")
        config = "".join(f"HostKey /etc/ssh/ssh_host_{kind}_key\n" for kind in kinds or ["ed25519"])
        found.append(_file("/etc/ssh/sshd_config", config.encode(), append=True))
        return found + [{"do": "host key", "kind": kind} for kind in kinds or ["ed25519"]]

    def authorized(self, keys: Sequence[str]) -> list[Step]:
        """``ssh_authorized_keys`` and the cloud's own keys, for the default user and for root."""
        lines = [*keys, *map(str, self._get("ssh_authorized_keys", []))]
        if not lines:
            return []
        users = self._get("users", ["default"])
        shut = self._config.get("disable_root", True)
        root = [_ROOT_REFUSED + line for line in lines] if shut else lines
        own = [_authorize(DEFAULT_USER, lines)] if "default" in users else []
        return [*own, _authorize("root", root)]

    def power(self) -> list[Step]:
        """``power_state``: going off at the end of the boot."""
        state = self._get("power_state", {})
        if not state:
            return []
        flag = {"reboot": "-r", "halt": "-H"}.get(str(state.get("mode")), "-P")
        when = str(state.get("delay", "now"))
        return [_run("power_state", f"#!/bin/sh\nexec shutdown {flag} {shlex.quote(when)}\n")]

    def rest(self) -> None:
        """Name the keys that nobody has read."""
        for key in sorted(set(self._config) - self._read):
            self._notes.append(f"{key!r} is not emulated, it is left out")


def _run(label: str, text: str) -> Step:
    return {"do": "run", "label": label, "text": text}


def _file(
    path: str, content: bytes, mode: int = _MODE, owner: str = "", append: bool = False
) -> Step:
    coded = base64.b64encode(content).decode()
    return {
        "do": "file",
        "path": path,
        "content": coded,
        "mode": mode,
        "owner": owner,
        "append": append,
    }


def _user(name: str, sudo: str = "", shell: str = _SHELL, home: str = "") -> Step:
    return {"do": "user", "name": name, "sudo": sudo, "shell": shell, "home": home}


def _authorize(user: str, lines: Sequence[Any]) -> Step:
    return {"do": "authorize", "user": user, "lines": [str(line) for line in lines]}


def _line(text: Any) -> bytes:
    return (str(text).rstrip("\n") + "\n").encode()


def _mode(value: Any) -> int:
    if value is None:
        return _MODE
    return value if isinstance(value, int) else int(str(value), 8)


def _decoded(content: Any, encoding: str) -> bytes:
    data = content if isinstance(content, bytes) else str(content).encode()
    for one in encoding.lower().replace("base64", "b64").replace("gzip", "gz").split("+")[::-1]:
        if one and one != "text/plain":
            data = _decoders(one)(data)
    return data


def _decoders(name: str) -> Callable[[bytes], bytes]:
    if name == "b64":
        return _unbase64
    if name == "gz":
        return gzip.decompress
    raise ValueError(f"the encoding {name!r} is not known")


def _unbase64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
