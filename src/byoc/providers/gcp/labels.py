"""Tags as Google's labels: lower case, digits, ``-`` and ``_`` only, 63 characters a value.

Any other byte of a value is written ``_2e`` (its hexadecimal number); a value that is too long
continues in the labels ``key--1``, ``key--2``. Both are undone by :func:`decode`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...errors import BadRequestError
from ..base import ANY

MANAGED = "byoc-managed"
"""The label that everything of byoc carries, with the value 1."""
LONGEST = 63
"""Characters of a key, and of a value."""
MOST = 64
"""Labels of one resource."""
_KEY = re.compile(r"[a-z](?:[a-z0-9_]|-(?=[a-z0-9_]))*")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_MORE = "--"


def encode(tags: Mapping[str, str]) -> dict[str, str]:
    """Labels for tags. Raises BadRequestError for a key that is no label's, or too many labels."""
    labels: dict[str, str] = {}
    for key, value in tags.items():
        text = "".join(chr(b) if b in _PLAIN else f"_{b:02x}" for b in value.encode())
        parts = [text[at : at + LONGEST] for at in range(0, len(text), LONGEST)] or [""]
        for number, part in enumerate(parts):
            name = f"{key}{_MORE}{number}" if number else key
            if not _KEY.fullmatch(key) or len(name) > LONGEST:
                raise BadRequestError(f"the tag {key!r} cannot be a label", provider="gcp")
            labels[name] = part
    if len(labels) > MOST:
        raise BadRequestError(f"{len(labels)} labels are more than {MOST}", provider="gcp")
    return labels


def decode(labels: Mapping[str, str]) -> dict[str, str]:
    """The tags of labels, of others' labels too: what was not encoded is left as it is."""
    whole: dict[str, str] = {}
    for (name, number), value in sorted((_place(key), value) for key, value in labels.items()):
        whole[name] = whole.get(name, "") + value if number else value
    return {key: _undo(value) for key, value in whole.items()}


def _place(key: str) -> tuple[str, int]:
    name, _, number = key.partition(_MORE)
    return (name, int(number)) if number.isdigit() else (key, 0)


def _undo(value: str) -> str:
    try:
        return re.sub(rb"_([0-9a-f]{2})", _byte, value.encode()).decode()
    except UnicodeDecodeError:  # a label that byoc did not write
        return value


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])


def changed(old: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Labels with these tags in place of their old values; others' stay as they are.

    Raises as :func:`encode`, or BadRequestError when they are too many together.
    """
    found = {key: value for key, value in old.items() if _place(key)[0] not in tags}
    found.update(encode(tags))
    if len(found) > MOST:
        raise BadRequestError(f"{len(found)} labels are more than {MOST}", provider="gcp")
    return found


def query(tags: Mapping[str, str]) -> str:
    """The ``filter`` of a list call for resources of byoc that carry all of ``tags``."""
    wanted = encode({MANAGED: "1", **{k: v for k, v in tags.items() if v != ANY}})
    terms = [f'(labels.{key} = "{value}")' for key, value in wanted.items()]
    terms += [f"(labels.{key}:*)" for key, value in tags.items() if value == ANY]
    return " AND ".join(terms)
