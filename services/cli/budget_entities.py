"""`turnpike budget organisation|team|project|user`: the tree that budgets hang from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from services.cli.admin import Access, Column, admin_command, show, show_one, state_of, when
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entity: its name in RPCs and fields, what it hangs from, and how it is called by people."""

    name: str
    parent: str | None = None
    label: str = "display_name"

    @property
    def method(self) -> str:
        """Its name within an RPC's."""
        return self.name.capitalize()


KINDS = (
    Kind("organisation"),
    Kind("team", parent="organisation_id"),
    Kind("project", parent="team_id"),
    Kind("user", parent="organisation_id", label="external_id"),
)


def _request(name: str, kind: Kind, **fields: Any) -> Any:
    return getattr(pb, name.format(kind.method))(**fields)


def _columns(kind: Kind) -> list[Column]:
    columns: list[Column] = [
        (kind.name, lambda e: str(getattr(e, f"{kind.name}_id"))),
        ("name", lambda e: str(getattr(e, kind.label))),
    ]
    parent = kind.parent
    if parent is not None:
        columns.append((parent.removesuffix("_id"), lambda e: str(getattr(e, parent))))
    return [*columns, ("state", state_of), ("made", lambda e: when(e, "created_at"))]


def _group(kind: Kind) -> click.Group:
    group = click.Group(kind.name, help=f"Make, list and archive {kind.name}s.")
    for make in (_list, _create, _state, _archive):
        group.add_command(make(kind))
    return group


def _list(kind: Kind) -> click.Command:
    @click.command("list", help=f"List {kind.name}s.")
    @click.option("--organisation", default="", help="Only this organisation's.")
    @click.option("--archived", is_flag=True, help="Archived ones too.")
    @admin_command
    async def command(access: Access, organisation: str, archived: bool) -> None:
        request = _request("List{}sRequest", kind, include_archived=archived)
        if kind.parent is not None:
            request.organisation_id = organisation
        async with access.admin() as api:
            found = await api.pages(f"List{kind.method}s", request, f"{kind.name}s", None)
        show(access, found, _columns(kind))

    return command


def _create(kind: Kind) -> click.Command:
    async def create(access: Access, name: str, **parent: str) -> None:
        entity = getattr(entities_pb2, kind.method)(**{kind.label: name}, **parent)
        async with access.admin() as api:
            request = _request("Create{}Request", kind, **{kind.name: entity})
            made = getattr(await api.call(f"Create{kind.method}", request), kind.name)
        show_one(access, made, [(kind.name, getattr(made, f"{kind.name}_id"))])

    command: Callable[..., Any] = click.argument("name")(create)
    if kind.parent is not None:
        above = kind.parent.removesuffix("_id")
        command = click.option(f"--{above}", kind.parent, required=True, help=f"Id of its {above}.")(command)
    return click.command("create", help=f"Make a {kind.name}; its id is shown.")(admin_command(command))


def _state(kind: Kind) -> click.Command:
    @click.command("state", help=f"Suspend a {kind.name}, or make it active again.")
    @click.argument("entity_id")
    @click.argument("state", type=click.Choice(["active", "suspended"]))
    @admin_command
    async def command(access: Access, entity_id: str, state: str) -> None:
        entity = getattr(entities_pb2, kind.method)(**{f"{kind.name}_id": entity_id})
        entity.state = entities_pb2.EntityState.Value(f"ENTITY_STATE_{state.upper()}")
        request = _request("Update{}Request", kind, **{kind.name: entity})
        request.update_mask.paths.append("state")
        async with access.admin() as api:
            after = getattr(await api.call(f"Update{kind.method}", request), kind.name)
        show_one(access, after, [(kind.name, entity_id), ("state", state_of(after))])

    return command


def _archive(kind: Kind) -> click.Command:
    @click.command("archive", help=f"Take a {kind.name} out for good; the ledger keeps it.")
    @click.argument("entity_id")
    @admin_command
    async def command(access: Access, entity_id: str) -> None:
        request = _request("Archive{}Request", kind, **{f"{kind.name}_id": entity_id})
        async with access.admin() as api:
            after = getattr(await api.call(f"Archive{kind.method}", request), kind.name)
        show_one(access, after, [(kind.name, entity_id), ("state", state_of(after))])

    return command


ENTITY_GROUPS = tuple(_group(kind) for kind in KINDS)
