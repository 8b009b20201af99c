"""docs/oci.md says what the code does."""

from __future__ import annotations

from byoc.providers.oci import permissions
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "oci.md").read_text()


def test_the_page_has_the_machines_policy_word_for_word() -> None:
    """What is copied from the page is what the code needs."""
    for statement in permissions.machine_policy("{compartment}"):
        assert statement in PAGE
    assert permissions.matching_rule("COMPARTMENT") in PAGE
