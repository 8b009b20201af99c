"""Write what the adapters' own maps say about permissions into docs/permissions.md.

    python -m tools.permissions

A test holds the page against :func:`block`; run this after a map has changed.
"""

from __future__ import annotations

from pathlib import Path

from byoc.providers.aws import iam as aws_iam
from byoc.providers.aws import permissions as aws
from byoc.providers.gcp import iam as gcp_iam
from byoc.providers.gcp import permissions as gcp
from byoc.providers.needs import EVERYTHING, Target
from byoc.providers.oci import iam as oci_iam
from byoc.providers.oci import permissions as oci

PAGE = Path(__file__).resolve().parent.parent / "docs" / "permissions.md"
BEGIN, END = "<!-- what the maps say: begin -->", "<!-- what the maps say: end -->"


def block() -> str:
    """The generated part of the page, its two marks included."""
    return "\n".join((BEGIN, "", *_aws(), *_gcp(), *_oci(), END))


def _aws() -> list[str]:
    statements = aws.statements(EVERYTHING)
    return [
        "## AWS", "",
        "| statement | why |", "|---|---|",
        *(f"| `{one.sid}` | {one.why} |" for one in statements), "",
        "| action | what for | without it |", "|---|---|---|",
        *(f"| `{one.action}` | {one.why} | {_without(one.always)} |" for one in aws.PERMISSIONS),
        "", "`byoc iam aws` prints:", "",
        "```json", aws_iam.printed(EVERYTHING, Target()).text.rstrip(), "```", "",
    ]  # fmt: skip


def _gcp() -> list[str]:
    calls: dict[str, list[str]] = {}
    for method, needed in gcp.NEEDED.items():
        for permission in needed:
            calls.setdefault(permission, []).append(f"`{method.removeprefix('compute.')}`")
    found = gcp.roles(EVERYTHING)
    role_of = {permission: one.name for one in found for permission in one.permissions}
    return [
        "## Google Cloud", "",
        "| role | why |", "|---|---|",
        *(f"| `{one.name}` | {one.why} |" for one in found), "",
        "| permission | role | for the calls | without it |", "|---|---|---|---|",
        *(
            f"| `{one}` | `{role_of[one]}` | {', '.join(calls[one])} |"
            f" {_without(one not in gcp.OPTIONAL)} |"
            for one in gcp.role()
        ),
        "", "`byoc iam gcp` prints:", "",
        "```text", gcp_iam.printed(EVERYTHING, Target()).text.rstrip(), "```", "",
    ]  # fmt: skip


def _oci() -> list[str]:
    return [
        "## OCI", "",
        "| statement | what for | without it |", "|---|---|---|",
        *(
            f"| `{one.verb} {one.resource}` | {one.why} | {_without(one.always)} |"
            for one in oci.STATEMENTS
        ),
        "", "`byoc iam oci` prints:", "",
        "```text", oci_iam.printed(EVERYTHING, Target()).text.rstrip(), "```", "",
    ]  # fmt: skip


def _without(always: bool) -> str:
    return "byoc is refused" if always else "byoc does without"


def main() -> None:
    """Rewrite the page's block."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(head + block() + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
