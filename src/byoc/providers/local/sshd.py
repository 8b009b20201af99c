"""Configuration of a machine's own ``sshd -i``: one key in, nothing else, nothing of the host's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

LOGIN_GRACE = 30
"""Seconds for a login: three times :data:`byoc.limits.CONNECT_TIMEOUT`."""
MAX_SESSIONS = 64
"""Channels on one connection; sshd's default of 10 is below what one run with shells may use."""
_PRIVILEGE_FOLDER = "/run/sshd"
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
)


def config(keys: str, environ: Mapping[str, str], forced_command: str = "") -> str:
    """The text of an sshd configuration.

    ``keys``: folder of ``host_key`` and ``authorized_keys``, as sshd sees it. ``environ``: what
    every session starts with. ``forced_command``: shell command run instead of what is asked.
    """
    lines = [
        f"HostKey {_quoted(keys + '/host_key')}",
        f"AuthorizedKeysFile {_quoted(_no_tokens(keys + '/authorized_keys'))}",
        "AuthenticationMethods publickey",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        # The key files are the owner's and private; folders above them are not ours to judge.
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "PermitUserEnvironment no",
        "PermitUserRC no",
        "PidFile none",
        "PrintMotd no",
        "PrintLastLog no",
        "UseDNS no",
        "X11Forwarding no",
        "AllowAgentForwarding no",
        "AllowTcpForwarding yes",
        "AllowStreamLocalForwarding yes",
        f"MaxSessions {MAX_SESSIONS}",
        f"LoginGraceTime {LOGIN_GRACE}",
        "SetEnv " + " ".join(_quoted(f"{name}={value}") for name, value in environ.items()),
    ]
    if forced_command:
        lines.append(f"ForceCommand {forced_command}")
        lines += [f"Subsystem sftp {path}" for path in _SFTP_SERVERS if os.path.exists(path)][:1]
    else:
        lines.append("Subsystem sftp internal-sftp")
    return "\n".join(lines) + "\n"


def make_privilege_folder() -> None:
    """sshd of root refuses to start without this folder, which its service makes at boot."""
    if os.getuid() == 0 and os.path.isdir(os.path.dirname(_PRIVILEGE_FOLDER)):
        os.makedirs(_PRIVILEGE_FOLDER, mode=0o755, exist_ok=True)


def enter_script(home: str, shell: str) -> str:
    """What a session runs where sshd would start it in the account's home instead of ``home``."""
    return f"""#!{shell}
cd {shlex.quote(home)} || exit 1
if [ -n "${{SSH_ORIGINAL_COMMAND+x}}" ]; then
    command=$SSH_ORIGINAL_COMMAND
    unset SSH_ORIGINAL_COMMAND
    eval "$command"
else
    exec {shell} -l
fi
"""


def _quoted(text: str) -> str:
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _no_tokens(text: str) -> str:
    return text.replace("%", "%%")
