"""Whom requests are made as, and what is said when that is nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import AccessError, ProviderError
from byoc.providers.base import OWNER_TAG
from byoc.providers.oci import clients, codes
from byoc.providers.oci.provider import OciProvider
from tests.clouds.oci.conftest import OWNER, Tenancy, request


def _provider(home: Path, environ: Mapping[str, str], **options: str) -> OciProvider:
    return OciProvider(home, SYSTEM, environ, options)


def _access(provider: OciProvider) -> AccessError:
    with pytest.raises(AccessError) as caught:
        provider.list({})
    error = caught.value
    assert error.provider == "oci" and error.scope == "cloud" and error.hints
    return error


def test_without_the_sdk_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method that speaks to OCI raises the same access error; offers need no SDK."""
    monkeypatch.setitem(sys.modules, "oci", None)
    provider = _provider(tmp_path, {})
    for ask in (
        lambda: provider.list({}),
        lambda: provider.get("ocid1.instance.oc1.iad.x"),
        lambda: provider.launch(request()),
        lambda: provider.survey("us-ashburn-1", []),
    ):
        with pytest.raises(AccessError) as caught:
            ask()
        assert caught.value.hints == (clients.INSTALL,)
    (only,) = provider.check()
    assert (only.level, only.subject, only.remedy) == ("fail", "credentials", clients.INSTALL)
    assert provider.offers() and provider.traits.self_end == "billed"


def test_the_sdk_is_not_imported_before_it_is_needed() -> None:
    """Making the provider, its traits and its offers import nothing of Oracle's."""
    program = (
        "import sys, pathlib\n"
        "from byoc.clock import SYSTEM\n"
        "from byoc.providers.oci.provider import OciProvider\n"
        "one = OciProvider(pathlib.Path('.'), SYSTEM, {}, {})\n"
        "one.traits, one.offers()\n"
        "assert 'oci' not in sys.modules, 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_no_configuration_names_the_command_that_makes_one(tmp_path: Path) -> None:
    """A missing file is OCI's own ConfigFileNotFound."""
    error = _access(_provider(tmp_path, {}, config_file=str(tmp_path / "none")))
    assert error.vendor_code == "ConfigFileNotFound"
    assert "oci setup config" in error.hints[0]


def test_a_missing_profile_is_told(tenancy: Tenancy) -> None:
    """The file is there, and has no such profile."""
    error = _access(tenancy.another(profile="nobody"))
    assert error.vendor_code == "ProfileNotFound" and "nobody" in error.message


def test_a_malformed_configuration_is_told(tmp_path: Path) -> None:
    """The names of the wrong entries are in the message."""
    config = tmp_path / "config"
    config.write_text("[DEFAULT]\nuser=me\nregion=us-ashburn-1\n")
    error = _access(_provider(tmp_path, {}, config_file=str(config)))
    assert error.vendor_code == "InvalidConfig" and "tenancy" in error.message


def test_a_missing_key_file_is_told(tenancy: Tenancy, tmp_path: Path) -> None:
    """The configuration names a key that is not there."""
    text = Path(tenancy.cloud.environ["OCI_CONFIG_FILE"]).read_text()
    config = tmp_path / "config"
    config.write_text(text.replace(".pem", ".none"))
    error = _access(tenancy.another(config_file=str(config)))
    assert error.vendor_code == "InvalidKeyFilePath"


def test_a_key_that_oci_does_not_know_is_told(tenancy: Tenancy, tmp_path: Path) -> None:
    """Signed with a key of another fingerprint: 401, with what to do."""
    lines = Path(tenancy.cloud.environ["OCI_CONFIG_FILE"]).read_text().splitlines()
    wrong = [
        "fingerprint=" + ":".join(["00"] * 16) if "fingerprint" in one else one for one in lines
    ]
    config = tmp_path / "config"
    config.write_text("\n".join(wrong))
    error = _access(tenancy.another(config_file=str(config)))
    assert error.vendor_code == "NotAuthenticated" and error.request_id
    assert "oci session authenticate" in error.hints[0]


def test_the_configuration_is_found_as_the_command_line_finds_it(tenancy: Tenancy) -> None:
    """Without settings of byoc's: OCI_CLI_CONFIG_FILE, then OCI_CONFIG_FILE, and the profile."""
    environ = tenancy.cloud.environ
    endpoint = environ["BYOC_OCI_ENDPOINT"]
    plain = {"OCI_CONFIG_FILE": environ["OCI_CONFIG_FILE"]}
    cli = {"OCI_CLI_CONFIG_FILE": environ["OCI_CONFIG_FILE"], "OCI_CONFIG_FILE": "/nowhere"}
    for found in (plain, cli, {**plain, "OCI_CLI_PROFILE": "DEFAULT"}):
        assert _provider(tenancy.cloud.home, found, endpoint=endpoint).list({}) == []
    wrong = _provider(tenancy.cloud.home, {**plain, "OCI_CLI_PROFILE": "nobody"}, endpoint=endpoint)
    assert _access(wrong).vendor_code == "ProfileNotFound"


def test_a_session_token_signs(tenancy: Tenancy, tmp_path: Path) -> None:
    """What `oci session authenticate` leaves is used: the key id is the token's."""
    token = tmp_path / "token"
    token.write_text(_jwt() + "\n")
    text = Path(tenancy.cloud.environ["OCI_CONFIG_FILE"]).read_text()
    config = tmp_path / "config"
    config.write_text(text + f"security_token_file={token}\n")
    provider = _as_configured(tenancy, config)
    identity = provider._account.identity
    assert identity.kind == "security_token"
    assert identity.signer.api_key == f"ST${_jwt()}"
    assert _access(provider).vendor_code == "NotAuthenticated"  # the tenancy issued no such token


def test_a_session_that_is_not_there_names_the_command(tenancy: Tenancy, tmp_path: Path) -> None:
    """The configuration is of a session whose token file is gone."""
    text = Path(tenancy.cloud.environ["OCI_CONFIG_FILE"]).read_text()
    config = tmp_path / "config"
    config.write_text(text + f"security_token_file={tmp_path / 'none'}\n")
    error = _access(_as_configured(tenancy, config))
    assert "oci session authenticate" in error.hints[0]


def test_a_compartment_of_the_settings_is_where_things_are(tenancy: Tenancy) -> None:
    """Instances and networks are made and looked for there, and nowhere else."""
    other = tenancy.another(compartment="ocid1.compartment.oc1..team")
    made = other.launch(request())
    assert [one.id for one in other.list({})] == [made.id]
    assert tenancy.provider.list({}) == []


def test_what_the_sdk_does_not_raise_is_left_alone() -> None:
    """A mistake of byoc's own is not taken for an answer of OCI."""
    assert codes.translate(KeyError("x")) is None
    with pytest.raises(KeyError), codes.translated():
        raise KeyError("x")
    assert isinstance(codes.translate(ConnectionResetError("gone")), ProviderError)


def test_clients_are_kept_for_each_service_and_region(tenancy: Tenancy) -> None:
    """A client is made once, and its requests go to its own region."""
    account = tenancy.provider._account
    home, away = account.client("compute"), account.client("compute", "eu-frankfurt-1")
    assert home is account.client("compute", "us-ashburn-1") is not away
    assert "/eu-frankfurt-1/" in away.base_client.endpoint
    assert tenancy.provider.list({OWNER_TAG: OWNER}) == []


def _as_configured(tenancy: Tenancy, config: Path) -> OciProvider:
    """Nothing but the configuration says how to sign."""
    endpoint = tenancy.cloud.environ["BYOC_OCI_ENDPOINT"]
    return _provider(tenancy.cloud.home, {}, endpoint=endpoint, config_file=str(config))


def _jwt() -> str:
    """A token that expires in 2100, as the SDK reads it."""
    return "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDAsImp3ayI6Int9In0.c2ln"
