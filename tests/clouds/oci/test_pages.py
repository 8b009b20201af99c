"""docs/oci.md says what the code does."""

from __future__ import annotations

from byoc.providers.oci import permissions
from byoc.settings import KEYS
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "oci.md").read_text()


def test_the_page_has_the_machines_policy_word_for_word() -> None:
    """What is copied from the page is what the code needs."""
    for statement in permissions.machine_policy("{compartment}"):
        assert statement in PAGE
    assert permissions.matching_rule("COMPARTMENT") in PAGE


def test_the_page_has_every_setting() -> None:
    """Each setting of OCI's has its row."""
    assert all(f"`{key}`" in PAGE for key in KEYS if key.startswith("oci."))
