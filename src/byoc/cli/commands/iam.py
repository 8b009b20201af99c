"""``byoc iam``: the least that a cloud account has to allow byoc."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ...errors import InvalidError
from ...providers.needs import Target
from .. import complete, context
from ..command import command
from ..console import Console

CLOUDS = ("aws", "gcp", "oci")


@command()
def iam(
    console: Console,
    cloud: Annotated[
        str,
        typer.Argument(metavar="CLOUD", help="aws, gcp or oci.", autocompletion=complete.clouds),
    ],
    program: Annotated[
        str,
        typer.Option(
            "--for", metavar="FILE[::NAME]", help="Only what this program needs: markets, regions."
        ),
    ] = "",
    owner_only: Annotated[
        bool,
        typer.Option("--owner-only", help="On AWS: end nothing that another installation made."),
    ] = False,
    who: Annotated[
        str,
        typer.Option("--user", metavar="NAME", help="IAM user, Google member, or OCI group."),
    ] = "",
    project: Annotated[str, typer.Option("--project", metavar="ID", help="Google's project.")] = "",
    compartment: Annotated[
        str, typer.Option("--compartment", metavar="OCID", help="OCI's compartment.")
    ] = "",
    tenancy: Annotated[str, typer.Option("--tenancy", metavar="OCID", help="OCI's tenancy.")] = "",
) -> int:
    """Print the least policy that byoc needs on a cloud, with why, and the command that applies it.

    The policy goes to stdout: IAM's JSON for AWS, a script for gcloud or oci. Nothing is asked of
    the cloud, and nothing is changed. --for narrows it to what a program's functions can use.
    """
    if cloud not in CLOUDS:
        raise InvalidError(
            f"there is no policy for {cloud!r}", hints=(f"choose from {', '.join(CLOUDS)}",)
        )
    if owner_only and cloud != "aws":
        raise InvalidError("--owner-only is for aws: other clouds have no conditions on tags")
    policies = _lazy.load("byoc.cli.policies")
    target = Target(who, project or compartment, tenancy)
    wanted = policies.Wanted(cloud, program, owner_only, target)
    code: int = policies.show(console, context.merged(), wanted)
    return code
