"""The client's identity and the host keys."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from byoc.errors import StateError
from byoc.transport import keys
from tests.helpers import ROOT


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_identity_is_private_and_stays(tmp_path: Path) -> None:
    """The key is made once, its file is 0600 in a folder that is 0700."""
    first = keys.ensure_identity(tmp_path)
    assert (mode(first.path), mode(first.path.parent)) == (0o600, 0o700)
    assert keys.ensure_identity(tmp_path) == first
    assert [p.name for p in first.path.parent.iterdir()] == ["id_ed25519"]


def test_the_public_line_is_the_keys_own(tmp_path: Path) -> None:
    """The line read out of the file is what paramiko derives from the private key."""
    identity = keys.ensure_identity(tmp_path)
    assert identity.key().asbytes() == keys.public_blob(identity.public)
    assert identity.key() is identity.key()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen on this host")
def test_openssh_reads_what_we_write(tmp_path: Path) -> None:
    """ssh-keygen accepts both kinds of keys and derives the same public lines."""
    identity = keys.ensure_identity(tmp_path)
    host = keys.new_host_key()
    host_file = tmp_path / "host"
    host_file.touch(mode=0o600)
    host_file.write_text(host.private)
    for file, line in ((identity.path, identity.public), (host_file, host.public)):
        out = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True
        )
        assert out.stdout.split()[:2] == line.split()


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """Whoever loses the race to make the key uses the winner's."""
    code = "import sys, pathlib\nfrom byoc.transport import keys\nsys.stdin.read()\n"
    code += "print(keys.ensure_identity(pathlib.Path(sys.argv[1])).public)"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    lines = set()
    for racer in racers:
        assert racer.stdout is not None
        lines.add(racer.stdout.read())
        racer.stdout.close()
        assert racer.wait(30) == 0
    assert lines == {keys.ensure_identity(tmp_path).public + "\n"}
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_a_key_that_others_can_read_is_tightened(tmp_path: Path) -> None:
    """ssh refuses a key with loose permissions, so they are put right."""
    path = keys.ensure_identity(tmp_path).path
    path.chmod(0o644)
    keys.ensure_identity(tmp_path)
    assert mode(path) == 0o600


def another_kind() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.OpenSSH
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, form, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    "text", ["", "not a key", keys.new_host_key().private[:120], another_kind()]
)
def test_a_broken_key_file_is_reported(tmp_path: Path, text: str) -> None:
    """A file that is not an ed25519 key is neither used nor replaced; the error says what to do."""
    path = keys.ensure_identity(tmp_path).path
    path.write_text(text)
    with pytest.raises(StateError, match="not an ed25519 key") as raised:
        keys.ensure_identity(tmp_path)
    assert raised.value.hints
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """The error names the file and what to change."""
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(StateError, match="cannot be used") as raised:
        keys.ensure_identity(tmp_path)
    assert "BYOC_HOME" in raised.value.hints[0]


def test_host_keys_differ_and_hide_their_private_half() -> None:
    """Each instance gets a key of its own, and its repr cannot leak it."""
    one, two = keys.new_host_key(), keys.new_host_key()
    assert one != two
    assert "PRIVATE" not in repr(one)
    assert "OPENSSH PRIVATE KEY" in one.private


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-rsa AAAA",
        "ssh-ed25519 !!!",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 " + "A" * 68,
    ],
)
def test_what_is_not_a_public_line_is_refused(line: str) -> None:
    """Only a whole ed25519 line can be pinned."""
    with pytest.raises(ValueError, match="not an ssh-ed25519"):
        keys.public_blob(line)


def test_importing_the_transport_loads_no_heavy_library() -> None:
    """paramiko and cryptography cost 100 ms; only a connection or a new key may pay for them."""
    code = "import sys, byoc.transport.ssh, byoc.transport.keys\n"
    code += "print([m for m in ('paramiko', 'cryptography', 'nacl') if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src"
    )
    assert out.stdout == "[]\n"
