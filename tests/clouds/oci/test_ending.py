"""A machine on OCI that ends itself: the real program against the emulated federation."""

from __future__ import annotations

import ast
import http.server
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import oci
import pytest

from byoc.emulator.ports import Reply
from byoc.providers.oci import ending
from byoc.providers.oci.provider import OciProvider
from tests.clouds.conftest import MakeWorld
from tests.clouds.oci.conftest import MakeTenancy, Tenancy, request
from tests.clouds.rehearsal import real_machines
from tests.helpers import until
from tests.providers.world import new_key

Answer = Callable[[str, str, Mapping[str, str], bytes], Reply]


class Door(http.server.BaseHTTPRequestHandler):
    """A metadata service on loopback, in place of the link-local one of a machine."""

    answer: Answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = type(self).answer(self.command, self.path, headers, self.rfile.read(size))
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names that http.server looks for


@pytest.fixture
def metadata() -> Iterator[Callable[[Tenancy, str], str]]:
    """Serves the metadata of one instance; its address."""
    doors: list[http.server.ThreadingHTTPServer] = []

    def serve(tenancy: Tenancy, id: str) -> str:
        one = tenancy.facade._store.get(id, "Instance")
        answer = staticmethod(tenancy.facade._compute._metadata.of(one))
        door = type("One", (Door,), {"answer": answer})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), door)
        doors.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in doors:
        server.shutdown()
        server.server_close()


def _run(base: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run byoc-end as the machine would, with the metadata service at ``base``."""
    script = folder / "byoc-end"
    script.write_text(ending.script(emulated=True).replace(ending.METADATA_HOST, base))
    return subprocess.run(
        ["sh", str(script)],
        env={"PATH": os.environ["PATH"], "OCI_METADATA_BASE_URL": f"{base}/opc/v2"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_machine_ends_itself(
    tenancy: Tenancy, metadata: Callable[[Tenancy, str], str], tmp_path: Path
) -> None:
    """The script that the boot data holds, with python3 and openssl alone: certificate, session
    token, signed request; the instance and its disk are gone and no longer billed."""
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    done = _run(metadata(tenancy, made.id), tmp_path)
    assert done.returncode == 0, done.stderr
    assert tenancy.gone(made.id).failure is None
    assert tenancy.facade.leftovers() == [] and tenancy.world.ledger.alive() == []


def test_a_machine_that_may_not_end_itself_says_so(
    tenancy_with: MakeTenancy, metadata: Callable[[Tenancy, str], str], tmp_path: Path
) -> None:
    """Without the policy OCI answers 404: the script fails at once, and the dead-man's next means
    is to shut down."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "TerminateInstance"\nerror = "NotAuthorizedOrNotFound"'
    )
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    done = _run(metadata(tenancy, made.id), tmp_path)
    assert done.returncode == 1 and "404" in done.stderr
    assert tenancy.provider.get(made.id).state == "running"


def test_a_busy_cloud_is_asked_again(
    tenancy_with: MakeTenancy, metadata: Callable[[Tenancy, str], str], tmp_path: Path
) -> None:
    """A throttled request is made again after a while."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "TerminateInstance"\nerror = "TooManyRequests"\ntimes = 1'
    )
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    done = _run(metadata(tenancy, made.id), tmp_path)
    assert done.returncode == 0 and "429" in done.stderr
    assert tenancy.gone(made.id).state == "gone"


def test_a_machine_may_end_no_other(
    tenancy: Tenancy,
    metadata: Callable[[Tenancy, str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Oracle's own SDK as the machine: it is the machine's principal, and may do this alone."""
    mine = tenancy.provider.launch(request(token="1" * 32))
    other = tenancy.provider.launch(request(token="2" * 32))
    tenancy.running(mine.id)
    base = metadata(tenancy, mine.id)
    monkeypatch.setenv("OCI_METADATA_BASE_URL", f"{base}/opc/v2")
    signer = oci.auth.signers.InstancePrincipalsSecurityTokenSigner(
        federation_endpoint=f"{base}/v1/x509"
    )
    client = oci.core.ComputeClient({}, signer=signer, service_endpoint=tenancy.facade.address)
    assert client.get_instance(mine.id).data.id == mine.id
    for refused in (
        lambda: client.terminate_instance(other.id),
        lambda: client.get_instance(other.id),
        lambda: client.list_instances(tenancy.facade.tenancy),
    ):
        with pytest.raises(oci.exceptions.ServiceError) as caught:
            refused()
        assert caught.value.status == 404
    client.terminate_instance(mine.id)
    assert tenancy.gone(mine.id).state == "gone"
    assert tenancy.provider.get(other.id).state == "running"


@real_machines
@pytest.mark.slow
def test_a_booted_machine_whose_lease_passes_ends_itself(cloud_world: MakeWorld) -> None:
    """From the boot data alone: the dead-man waits out the boot lease, and byoc-end terminates the
    instance by the API, without any client."""
    cloud = cloud_world("", clouds=("oci",), machines="real")
    tenancy = Tenancy(cloud, cast(OciProvider, cloud.provider("oci")))
    key = new_key()
    made = tenancy.provider.launch(request(host_key=key, authorized_key=key.public, boot_lease=5.0))
    until(lambda: tenancy.provider.get(made.id).state == "gone", 40)
    assert tenancy.world.ledger.alive() == []
    assert len(tenancy.calls("TerminateInstance")) == 1


def test_the_program_is_small_and_old_python_can_read_it() -> None:
    """Its size leaves room in the boot data; nothing in it is newer than Python 3.6."""
    for emulated in (False, True):
        text = ending.script(emulated)
        assert text.startswith("#!/bin/sh\n") and text.isascii() and len(text) < 4096
        program = text.split("<<'PROGRAM'\n")[1].removesuffix("PROGRAM\n")
        ast.parse(program, feature_version=(3, 7))
        assert "f'" not in program and "walrus" not in program
    assert "169.254.169.254/opc/v2" in ending.script() and 'API = ""' in ending.script()


def test_the_metadata_service_answers_only_who_means_it(
    tenancy: Tenancy, metadata: Callable[[Tenancy, str], str]
) -> None:
    """No header, no answer; version 1 is off."""
    made = tenancy.provider.launch(request())
    base = metadata(tenancy, made.id)

    def status(path: str, **headers: str) -> int:
        asked = urllib.request.Request(base + path, headers=headers)
        try:
            return int(urllib.request.urlopen(asked, timeout=10).status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/opc/v2/instance/") == 401
    assert status("/opc/v1/instance/", Authorization="Bearer Oracle") == 404
    assert status("/opc/v2/instance/id", Authorization="Bearer Oracle") == 200
    assert status("/opc/v2/instance/nothing", Authorization="Bearer Oracle") == 404
