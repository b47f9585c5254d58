"""`turnpike grant`: which models whom may use."""

import json

import click

from services.cli.admin import Access, Column, show, show_one, when
from services.cli.policy_words import (
    confirm,
    organisation_of,
    organisation_option,
    router_command,
    subject_of,
    yes_option,
)
from turnpike.router.v1 import router_admin_pb2 as pb


@click.group()
def grant() -> None:
    """Say which models whom may use.

    With no grant every model may be used. A denial beats every allowance; at each level that has allowances one of them
    must name the model, so that a narrower level only takes away. They bind every path: aliases and fallbacks, too.
    """


to_option = click.option(
    "--to", "subject", required=True, help="To whom: an organisation, team, project or key by its id."
)


@grant.command()
@click.argument("pattern")
@to_option
@organisation_option
@router_command
async def allow(access: Access, pattern: str, subject: str, organisation: str) -> None:
    """Allow PATTERN, such as openai/gpt-5.4, openai/*, group:small or *."""
    await _grant(access, pattern, subject, organisation, deny=False)


@grant.command()
@click.argument("pattern")
@to_option
@organisation_option
@router_command
async def deny(access: Access, pattern: str, subject: str, organisation: str) -> None:
    """Deny PATTERN, such as openai/gpt-5.4, openai/*, group:small or *."""
    await _grant(access, pattern, subject, organisation, deny=True)


async def _grant(access: Access, pattern: str, to: str, organisation: str, *, deny: bool) -> None:
    subject = subject_of(to, keys=True)
    wanted = pb.ModelGrant(
        organisation_id=organisation_of(organisation, subject, access.demo),
        subject=subject,
        model_pattern=pattern,
        deny=deny,
    )
    async with access.admin() as api:
        made = (await api.call("CreateModelGrant", pb.CreateModelGrantRequest(grant=wanted))).grant
    show_one(access, made, [("grant", made.grant_id), (_word(made), made.model_pattern), ("to", _whom(made))])


def _word(made: pb.ModelGrant) -> str:
    return "denied" if made.deny else "allowed"


def _whom(made: pb.ModelGrant) -> str:
    return made.subject.partition(":")[2]


@grant.command("list")
@click.option("--to", default="", help="Only those to this organisation, team, project or key.")
@organisation_option
@router_command
async def list_(access: Access, to: str, organisation: str) -> None:
    """List grants."""
    subject = subject_of(to, keys=True) if to else ""
    request = pb.ListModelGrantsRequest(
        organisation_id=organisation_of(organisation, subject, access.demo), subject=subject
    )
    async with access.admin() as api:
        found = await api.pages("ListModelGrants", request, "grants", None)
    columns: list[Column] = [
        ("grant", lambda g: g.grant_id),
        ("to", _whom),
        ("is", _word),
        ("models", lambda g: g.model_pattern),
        ("made", lambda g: when(g, "created_at")),
        ("by", lambda g: g.created_by),
    ]
    show(access, found, columns)


@grant.command()
@click.argument("grant_id")
@yes_option
@router_command
async def delete(access: Access, grant_id: str, yes: bool) -> None:
    """Take a grant back. Without a denial, and without the last allowance of a level, more models may be used."""
    confirm(f"Take {grant_id} back?", yes=yes)
    async with access.admin() as api:
        await api.call("DeleteModelGrant", pb.DeleteModelGrantRequest(grant_id=grant_id))
    click.echo(json.dumps({"grant_id": grant_id}) if access.as_json else f"{grant_id} is taken back.")
