"""What every machine of the local provider does, whatever it is made of."""

from __future__ import annotations

import hashlib
import shlex
import socket
import subprocess
from pathlib import Path

import paramiko
import pytest

from tests.helpers import gone, processes_with, until
from tests.providers.world import TEXT_LIMIT, World, new_key


def test_commands_run_and_their_exit_codes_arrive(world: World) -> None:
    """The system's ssh client, pinned to our host key, runs commands and sees how they end."""
    instance = world.launch()
    done = world.ssh(instance, "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_only_the_pinned_host_key_answers(world: World) -> None:
    """A client that expects another host key gets nowhere: the machine has the key we injected."""
    instance = world.launch()
    done = world.ssh(instance, "true", key=new_key())
    assert done.returncode == 255 and b"verification failed" in done.stderr


def test_only_the_given_client_key_enters(world: World) -> None:
    """A client with another key is refused."""
    instance = world.launch()
    stranger = World(_folder(world.home / "stranger"), host=world.host)
    done = stranger.ssh(instance, "true")
    assert done.returncode == 255 and b"Permission denied" in done.stderr


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_bulk_passes_unharmed_both_ways(world: World) -> None:
    """Megabytes through stdin and back through stdout arrive whole, far beyond any window."""
    instance = world.launch()
    data = bytes(range(256)) * 32 * 1024
    done = world.ssh(instance, "cat", data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_a_slow_reader_holds_the_writer_back(world: World) -> None:
    """A command that prints more than anyone reads waits instead of being buffered."""
    instance = world.launch()
    with world.connected(instance) as client:
        _, stdout, _ = client.exec_command("yes | head -c 20000000; touch done", timeout=TEXT_LIMIT)
        first = stdout.read(1000)
        home = world.folder(instance) / "home"
        assert first == b"y\n" * 500
        assert not (home / "done").exists()
        assert len(stdout.read()) == 20_000_000 - 1000
        until((home / "done").exists)


def test_paramiko_sees_status_and_signal(world: World) -> None:
    """A killed command is reported as killed, not as an exit status of zero."""
    instance = world.launch()
    with world.connected(instance) as client:
        assert client.exec_command("exit 3")[1].channel.recv_exit_status() == 3
        assert client.exec_command("kill -9 $$")[1].channel.recv_exit_status() != 0


def test_many_channels_share_one_connection(world: World) -> None:
    """Two dozen commands at once on one connection all answer."""
    instance = world.launch()
    with world.connected(instance) as client:
        running = [client.exec_command(f"cat; echo {n}") for n in range(24)]
        for stdin, _, _ in running:
            stdin.channel.shutdown_write()
        assert [out.read() for _, out, _ in running] == [b"%d\n" % n for n in range(24)]


def test_a_shell_has_a_terminal_of_the_asked_size(world: World) -> None:
    """`byoc ssh` gets a login shell on a terminal that follows the window."""
    instance = world.launch()
    with world.connected(instance) as client:
        shell = client.invoke_shell("xterm", 91, 33)
        shell.settimeout(TEXT_LIMIT)
        shell.send(b"stty size; echo $TERM; echo cwd-$PWD\n")
        seen = _read_until(shell, b"cwd-" + str(_home(world, instance.id)).encode())
        assert b"33 91" in seen and b"xterm" in seen
        shell.resize_pty(120, 50)
        shell.send(b"stty size; command -v byoc-end; exit 4\n")
        assert b"50 120" in _read_until(shell, b"/bin/byoc-end")
        assert shell.recv_exit_status() == 4


def _read_until(channel: paramiko.Channel, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        data = channel.recv(4096)
        assert data, seen
        seen += data
    return seen


def _home(world: World, instance_id: str) -> Path:
    if world.provider.traits.real_root:
        return Path("/root")
    return world.home / "local" / instance_id / "home"


def test_each_machine_has_a_home_of_its_own(world: World) -> None:
    """Commands start in the machine's home, and what they write lies in the machine's folder."""
    one, two = world.launch(), world.launch()
    for instance in (one, two):
        home, cwd, name = world.out(instance, "echo $HOME; pwd; echo $BYOC_INSTANCE").split("\n")
        assert (home, cwd, name) == (str(_home(world, instance.id)),) * 2 + (instance.id,)
        world.out(instance, "pwd > ~/where; id -u > /dev/null")
        assert (world.folder(instance) / "home" / "where").read_text().strip() == home
    assert (one.address, one.port) != (two.address, two.port)


def test_the_absolute_path_of_root_is_the_home(sandboxed: World) -> None:
    """In a sandbox a program may write to /root, as it may on a rented machine."""
    instance = sandboxed.launch()
    assert sandboxed.provider.traits.real_root
    sandboxed.out(instance, "echo here > /root/file")
    assert (sandboxed.folder(instance) / "home" / "file").read_text() == "here\n"


def test_what_the_traits_promise_is_there(world: World) -> None:
    """Python, uv and the cache are where the traits say; the cache outlives the machine."""
    traits = world.provider.traits
    instance = world.launch()
    assert world.out(instance, world.python("import sys; print(sys.version_info >= (3, 8))"))
    assert "uv" in world.out(instance, f"{shlex.quote(traits.uv)} --version")
    world.out(instance, f"echo kept > {shlex.quote(traits.cache)}/mark")
    world.provider.terminate(instance.id)
    assert Path(traits.cache, "mark").read_text() == "kept\n"
    assert not world.folder(instance).exists()


def test_tcp_reaches_the_machines_own_loopback(world: World) -> None:
    """A direct-tcpip channel connects to a port inside."""
    instance = world.launch()
    with socket.create_server(("127.0.0.1", 0)) as server, world.connected(instance) as client:
        transport = client.get_transport()
        assert transport is not None
        port = server.getsockname()[1]
        channel = transport.open_channel("direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 1))
        peer, _ = server.accept()
        with peer:
            channel.sendall(b"ping")
            assert peer.recv(10) == b"ping"
            peer.sendall(b"pong")
        channel.settimeout(TEXT_LIMIT)
        assert channel.recv(10) == b"pong" and channel.recv(10) == b""


def test_unix_sockets_of_the_machine_are_reached(world: World) -> None:
    """A direct-streamlocal channel, here by ssh -L, connects to a socket inside."""
    instance = world.launch()
    inside = f"{_home(world, instance.id)}/s"
    serve = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "c,_=s.accept(); c.sendall(c.recv(100).upper())"
    )
    with world.connected(instance) as client:
        client.exec_command(world.python(serve, inside))
        until((world.folder(instance) / "home" / "s").exists)
        local = world.home / "l"
        tunnel = subprocess.Popen(world.ssh_line(instance, "-N", "-L", f"{local}:{inside}"))
        try:
            until(local.exists)
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(local))
                peer.sendall(b"hello")
                assert peer.recv(100) == b"HELLO"
        finally:
            tunnel.terminate()
            tunnel.wait(10)


def test_a_lost_terminal_hangs_up(world: World) -> None:
    """What runs on a terminal ends when its client goes away, as at any remote login."""
    instance = world.launch()
    mark = f"on-terminal-of-{instance.id}"
    with world.connected(instance) as client:
        shell = client.invoke_shell()
        shell.send(f"exec -a {mark} sleep 600\n".encode())
        until(lambda: [p for p in processes_with(mark) if p.command.startswith(mark)])
    gone(mark)


def test_a_command_that_is_too_long_fails(world: World) -> None:
    """A command line beyond the system's limit is answered by a failure, not by silence."""
    instance = world.launch()
    with world.connected(instance) as client:
        channel = client.exec_command("true " + "x" * 200_000, timeout=TEXT_LIMIT)[1].channel
        assert channel.recv_exit_status() != 0


@pytest.mark.parametrize("command", ["byoc-end", "shutdown -h now", "poweroff"])
def test_a_machine_ends_itself(world: World, command: str) -> None:
    """The end command of the traits, and the usual ones, end the machine with all in it."""
    instance = world.launch()
    world.ssh(instance, f"{command}; cat")
    assert world.ended(instance) == "shutdown"
    assert world.provider.list({}) == []
    gone(instance.id)


def test_secrets_lie_in_private_files(world: World) -> None:
    """Everything of a machine is unreadable for other users of the host."""
    instance = world.launch()
    folder = world.folder(instance)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "ssh" / "host_key").stat().st_mode & 0o077 == 0
    commands = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, check=True)
    assert world.host.private.split("\n")[1].encode() not in commands.stdout


def test_signals_have_their_ordinary_effect(world: World) -> None:
    """Commands start with default signal actions: an interrupt interrupts."""
    instance = world.launch()
    expected = ["default_int_handler", "SIG_DFL", "SIG_DFL"]
    code = (
        "import signal; names=[getattr(signal.getsignal(s),'__name__',None) or "
        "signal.getsignal(s).name for s in (2, 1, 15)]; print(names)"
    )
    assert world.out(instance, world.python(code)) == str(expected)
