"""``byoc iam``: the least that a cloud account has to allow byoc."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ...errors import InvalidError
from ...providers import policies
from ...providers.needs import Target
from .. import complete, context
from ..command import command
from ..console import Console


@command()
def iam(
    console: Console,
    cloud: Annotated[
        str,
        typer.Argument(
            metavar="CLOUD", help="Whose policy to print.", autocompletion=complete.clouds
        ),
    ],
    program: Annotated[
        str,
        typer.Option(
            "--for", metavar="FILE[::NAME]", help="Only what this program needs: markets, regions."
        ),
    ] = "",
    owner_only: Annotated[
        bool,
        typer.Option("--owner-only", help="End nothing that another installation has made."),
    ] = False,
    who: Annotated[
        str,
        typer.Option("--user", metavar="NAME", help="For whom: a user, a member, or a group."),
    ] = "",
    project: Annotated[
        str, typer.Option("--project", metavar="ID", help="The project, where there are any.")
    ] = "",
    compartment: Annotated[
        str, typer.Option("--compartment", metavar="OCID", help="The compartment, likewise.")
    ] = "",
    tenancy: Annotated[
        str, typer.Option("--tenancy", metavar="OCID", help="The tenancy that it is in.")
    ] = "",
) -> int:
    """Print the least policy that byoc needs on a cloud, with why, and the command that applies it.

    The policy goes to stdout: JSON for IAM, or a script for the cloud's command line. Nothing is
    asked of the cloud, and nothing is changed. --for narrows it to what a program's functions use.
    """
    known = policies.clouds()
    if cloud not in known:
        raise InvalidError(
            f"there is no policy for {cloud!r}", hints=(f"choose from {', '.join(known)}",)
        )
    if owner_only and not policies.knows_owners(cloud):
        raise InvalidError(
            f"--owner-only is not for {cloud}: its policies know no tags of byoc's",
            hints=("leave it out",),
        )
    for name, given in (("project", project), ("compartment", compartment), ("tenancy", tenancy)):
        if given and name not in policies.places(cloud):
            raise InvalidError(f"{cloud} has no {name}", hints=(f"leave out --{name}",))
    printer = _lazy.load("byoc.cli.policies")
    target = Target(who, project or compartment, tenancy)
    wanted = printer.Wanted(cloud, program, owner_only, target)
    code: int = printer.show(console, context.merged(), wanted)
    return code
