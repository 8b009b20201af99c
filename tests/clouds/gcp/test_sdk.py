"""Google's SDK: loaded late and in part, missing or without anybody logged in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc import clock
from byoc.errors import AccessError
from byoc.providers import get
from byoc.providers.gcp.provider import GcpProvider
from byoc.providers.gcp.sdk import PACKAGE
from tests.clouds.accounts import Account
from tests.clouds.gcp.conftest import ZONE, offer, provider

LAZY = f"""
import sys
from byoc.providers import get
from byoc.clock import SYSTEM
from pathlib import Path
one = get("gcp", Path("/nonexistent"), {{}}, SYSTEM, {{"project": "p"}})
one.traits; one.offers()
assert not [name for name in sys.modules if name.startswith("google")], "too early"
from byoc.providers.gcp import sdk
instances = sdk.load("services.instances")
assert "{PACKAGE}.services.routers" not in sys.modules, "too much"
import google.cloud.compute_v1 as whole
assert whole.RoutersClient.__name__ == "RoutersClient"
assert whole.InstancesClient is instances.InstancesClient
from google.cloud.compute_v1.types import compute
assert whole.Instance is compute.Instance and whole.services.instances is instances
try:
    whole.nothing
except AttributeError:
    print("fine")
"""
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "google":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from byoc.providers import get
from byoc.clock import SYSTEM
from byoc.errors import AccessError
from pathlib import Path
one = get("gcp", Path("/nonexistent"), {}, SYSTEM, {"project": "p"})
assert len(one.offers()) > 1000
try:
    one.list({})
except AccessError as error:
    print(error.hints[0])
print(one.check()[0].remedy)
"""


def _python(program: str) -> list[str]:
    # Google's libraries say on some versions of Python that these are old, which is not ours.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_sdk_is_loaded_late_and_in_part() -> None:
    """Nothing of it before the first question, then only the services that are asked; whoever
    imports the package itself later gets all of it."""
    assert _python(LAZY) == ["fine"]


def test_a_missing_sdk_is_named_with_its_command() -> None:
    """Offers need no SDK; whatever speaks to Google says how to install it."""
    assert _python(BLOCKED) == ["Run: pip install 'byoc-cloud[gcp]'"] * 2


def test_without_credentials_there_is_a_command_to_run(
    gcp: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is logged in: AccessError of the whole cloud, with gcloud's command."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    one = provider(gcp, key_file="")
    with pytest.raises(AccessError) as caught:
        one.list({})
    assert caught.value.scope == "cloud"
    assert "gcloud auth application-default login" in " ".join(caught.value.hints)
    with pytest.raises(AccessError):
        one.survey("us-central1", [offer("e2-medium")])
    (found,) = one.check()
    assert (found.level, found.subject) == ("fail", "credentials")


@pytest.mark.parametrize("text", ["", "{}", '{"type": "service_account"}', "no json"])
def test_a_broken_key_file_is_an_access_error(
    gcp: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """A key file that is none, or is not there, is said as such."""
    path = tmp_path / "key.json"
    if text:
        path.write_text(text)
    with pytest.raises(AccessError):
        provider(gcp, key_file=str(path)).list({})
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(AccessError):
        provider(gcp, key_file="").list({})


def test_credentials_are_googles_own_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an emulated endpoint Google's default chain decides, and asks no metadata address
    when it is told not to: every connection beyond loopback would fail this test."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no gcloud to ask for its project
    one = GcpProvider(tmp_path, clock.SYSTEM, {}, {"project": "p"})
    with pytest.raises(AccessError) as caught:
        one.list({})
    assert caught.value.vendor_code == "DefaultCredentialsError"
    assert "gcloud auth application-default login" in " ".join(caught.value.hints)


def test_wrong_credentials_are_refused_once(gcp: Account, tmp_path: Path) -> None:
    """A key that Google does not know: one request, no repeats, AccessError."""
    from byoc.emulator.gcp.account import EMAIL
    from byoc.emulator.gcp.account import Account as Other

    other = str(Other(tmp_path).write("http://127.0.0.1:1", EMAIL))
    endpoint = os.environ["BYOC_GCP_ENDPOINT"]
    one = GcpProvider(
        tmp_path, clock.SYSTEM, {"GOOGLE_APPLICATION_CREDENTIALS": other},
        {"endpoint": endpoint, "project": "byoc-emulated"},
    )  # fmt: skip
    with pytest.raises(AccessError) as caught:
        one.get(f"{ZONE}/byoc-none")
    assert caught.value.vendor_code == "authError"
    assert gcp.requests() == 1


@pytest.mark.parametrize(
    ("environ", "options", "name"),
    [
        ({"GOOGLE_CLOUD_PROJECT": "a"}, {"project": "b"}, "b"),
        ({"GOOGLE_CLOUD_PROJECT": "a", "CLOUDSDK_CORE_PROJECT": "c"}, {}, "a"),
        ({"CLOUDSDK_CORE_PROJECT": "c"}, {}, "c"),
        ({}, {}, "byoc-emulated"),
    ],
)
def test_the_project_is_found(
    gcp: Account, environ: dict[str, str], options: dict[str, str], name: str
) -> None:
    """The setting, else the environment's, else that of the credentials."""
    key = {"GOOGLE_APPLICATION_CREDENTIALS": os.environ["GOOGLE_APPLICATION_CREDENTIALS"]}
    endpoint = {"endpoint": os.environ["BYOC_GCP_ENDPOINT"]}
    one = GcpProvider(Path(gcp.home), clock.SYSTEM, {**key, **environ}, {**endpoint, **options})
    assert one._google.project == name


def test_the_table_makes_it(gcp: Account) -> None:
    """``providers.get`` makes the adapter as any other."""
    one = get("gcp", Path(gcp.home), dict(os.environ), clock.SYSTEM, {"project": "p"})
    assert isinstance(one, GcpProvider) and one.name == "gcp"
    traits = one.traits
    assert (traits.notice, traits.notice_source, traits.self_end) == (30.0, "gcp", "stopped")
    assert traits.regional and traits.root
