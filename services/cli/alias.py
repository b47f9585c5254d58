"""`turnpike alias`: an organisation's own names for models."""

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from services.cli.admin import Access, Column, show, show_one
from services.cli.policy_words import confirm, organisation_option, router_command, yes_option
from turnpike.router.v1 import router_admin_pb2 as pb

WHOLE = 1000  # shares are in parts per thousand


@click.group()
def alias() -> None:
    """Give models names of your own, which applications ask for, and move what is behind a name share by share."""


@alias.command()
@click.argument("name")
@click.argument("targets", nargs=-1, required=True, metavar="MODEL[=PERCENT]...")
@click.option(
    "--mirror", default="", help="A model that gets a copy of answered requests; nobody sees what it says."
)
@click.option("--mirror-share", default="", metavar="PERCENT", help="Of how many of them.")
@organisation_option
@router_command
async def put(
    access: Access, name: str, targets: tuple[str, ...], mirror: str, mirror_share: str, organisation: str
) -> None:
    """Say what NAME stands for; whatever it stood for before is replaced.

    \b
    turnpike alias put support openai/gpt-5.4                           another name for it
    turnpike alias put support openai/gpt-5.4=95 openai/gpt-5.5=5       a canary: 5 % go to the new one
    turnpike alias put support openai/gpt-5.4 anthropic/claude-opus-4-6   the engine chooses between them

    A target is a model, or a pattern such as group:small. With shares, which add up to 100, the one that is drawn goes
    first and the others stand in for it.
    """
    if bool(mirror) != bool(mirror_share):
        raise click.UsageError("--mirror and --mirror-share go together")
    wanted = pb.ModelAlias(
        alias=name,
        organisation_id=organisation or access.demo,
        targets=_targets(targets),
        mirror_model=mirror,
        mirror_permille=_permille(mirror_share, "--mirror-share") if mirror else 0,
    )
    async with access.admin() as api:
        after = (await api.call("PutAlias", pb.PutAliasRequest(alias=wanted))).alias
    fields = [("alias", after.alias), ("version", str(after.version)), ("stands for", _stands_for(after))]
    show_one(access, after, [*fields, ("mirrored to", _mirror(after))] if after.mirror_model else fields)


def _targets(words: Sequence[str]) -> list[pb.AliasTarget]:
    """What words such as `openai/gpt-5.4=95` say. Raises click.BadParameter."""
    found = []
    for word in words:
        model, equals, share = word.partition("=")
        found.append(pb.AliasTarget(model=model, permille=_permille(share, word) if equals else 0))
    shared = sum("=" in word for word in words)
    total = sum(target.permille for target in found)
    if shared not in (0, len(words)):
        raise click.BadParameter("either every model has a share, or none has")
    if shared and total != WHOLE:
        raise click.BadParameter(f"shares add up to {_percent(total)}, not 100 %")
    return found


def _permille(text: str, said: str) -> int:
    """A share in per cent, with or without its sign, in parts per thousand. Raises click.BadParameter."""
    try:
        parts = Decimal(text.strip().removesuffix("%").strip()) * 10
    except InvalidOperation as error:
        raise click.BadParameter(f"{said}: {text or 'nothing'} is no share such as 5 or 2.5%") from error
    if not parts.is_finite() or parts != int(parts) or not 0 <= parts <= WHOLE:
        raise click.BadParameter(f"{said}: a share is 0 to 100 per cent, in tenths at most")
    return int(parts)


def _percent(permille: int) -> str:
    return f"{permille / 10:g} %"


def _stands_for(made: Any) -> str:
    targets = made.targets
    if not any(target.permille for target in targets):
        return " or ".join(target.model for target in targets)
    return ", ".join(f"{target.model} {_percent(target.permille)}" for target in targets)


def _mirror(made: Any) -> str:
    return f"{made.mirror_model} {_percent(made.mirror_permille)}" if made.mirror_model else ""


@alias.command("list")
@organisation_option
@router_command
async def list_(access: Access, organisation: str) -> None:
    """List aliases and what they stand for."""
    request = pb.ListAliasesRequest(organisation_id=organisation or access.demo)
    async with access.admin() as api:
        found = await api.pages("ListAliases", request, "aliases", None)
    columns: list[Column] = [
        ("alias", lambda a: a.alias),
        (">version", lambda a: str(a.version)),
        ("stands for", _stands_for),
        ("mirrored to", _mirror),
    ]
    show(access, found, columns)


@alias.command()
@click.argument("name")
@yes_option
@organisation_option
@router_command
async def delete(access: Access, name: str, yes: bool, organisation: str) -> None:
    """Remove an alias; whoever asks for it is told that there is no such model."""
    confirm(f"Remove the alias {name}? Requests for it will fail.", yes=yes)
    request = pb.DeleteAliasRequest(organisation_id=organisation or access.demo, alias=name)
    async with access.admin() as api:
        await api.call("DeleteAlias", request)
    click.echo(json.dumps({"alias": name}) if access.as_json else f"{name} is removed.")
