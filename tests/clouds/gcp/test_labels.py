"""Tags as labels: whatever a tag says comes back, and Google accepts it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.emulator.gcp import filters
from byoc.errors import BadRequestError
from byoc.providers.gcp import labels

KEYS = st.from_regex(r"[a-z](?:[a-z0-9_]|-[a-z0-9_]){0,30}", fullmatch=True)
TAGS = st.dictionaries(KEYS, st.text(max_size=90), max_size=6)


@given(TAGS)
def test_tags_come_back(tags: dict[str, str]) -> None:
    """Decoding what was encoded gives the same tags."""
    assert labels.decode(labels.encode(tags)) == tags


@given(TAGS)
def test_labels_are_ones_that_google_takes(tags: dict[str, str]) -> None:
    """Every key and value keeps Google's alphabet and length."""
    for key, value in labels.encode(tags).items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@given(TAGS)
def test_the_query_finds_what_was_encoded(tags: dict[str, str]) -> None:
    """A resource passes the filter that is made of its own tags, and no other one."""
    item = {"labels": labels.encode({labels.MANAGED: "1", **tags})}
    assert filters.matches(labels.query(tags), item)
    assert not filters.matches(labels.query({**tags, "byoc-other": "x"}), item)


@given(st.dictionaries(st.text("abc-_1", min_size=1), st.text("abc_-0129")))
def test_labels_of_others_can_be_read(found: dict[str, str]) -> None:
    """Decoding never fails on labels that byoc did not write."""
    assert set(labels.decode(found)) <= {key.partition("--")[0] for key in found} | set(found)


def test_plain_values_stay_readable() -> None:
    """What people look for in the console is written as it is."""
    tags = {"byoc-run": "run-0h3k9", "byoc-expires": "1795271432"}
    assert labels.encode(tags) == tags


def test_a_price_keeps_its_point() -> None:
    """A byte outside of the alphabet is written as its number."""
    assert labels.encode({"byoc-price": "0.24"}) == {"byoc-price": "0_2e24"}


@pytest.mark.parametrize("key", ["Upper", "two--dashes", "dash-", "1st", "", "k" * 64])
def test_a_key_that_is_no_labels_is_refused(key: str) -> None:
    """A key that Google would refuse is refused before anything is asked."""
    with pytest.raises(BadRequestError):
        labels.encode({key: "x"})


def test_more_labels_than_google_takes_are_refused() -> None:
    """64 labels are the most; a long value takes several."""
    with pytest.raises(BadRequestError):
        labels.encode({"byoc-long": "x" * 63 * 65})
