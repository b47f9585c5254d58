"""`turnpike keys`: tenants' keys and admins' tokens."""

from datetime import UTC, datetime

import click

from services.cli.admin import (
    Access,
    admin_command,
    duration_of,
    secret_shown,
    show,
    show_one,
    stamp,
    state_of,
    when,
)
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2

PERMISSIONS = {
    name.removeprefix("KEY_PERMISSION_").lower().replace("_", "-"): value
    for name, value in entities_pb2.KeyPermission.items()
    if value
}
ROLES = {
    name.removeprefix("ROLE_").lower().replace("_", "-"): value
    for name, value in entities_pb2.Role.items()
    if value
}


@click.group()
def keys() -> None:
    """Make and end tenants' keys, and admins' tokens."""


@keys.command("list")
@click.option("--organisation", default="", help="Only this organisation's.")
@click.option("--project", default="", help="Only this project's.")
@click.option("--revoked", is_flag=True, help="Revoked ones too.")
@admin_command
async def list_(access: Access, organisation: str, project: str, revoked: bool) -> None:
    """List keys."""
    async with access.admin() as api:
        request = pb.ListKeysRequest(
            organisation_id=organisation, project_id=project, include_archived=revoked
        )
        found = await api.pages("ListKeys", request, "keys", None)
    columns = [
        ("key", lambda k: k.key_id),
        ("name", lambda k: k.display_name),
        ("begins with", lambda k: k.secret_prefix),
        ("project", lambda k: k.project_id),
        ("may", lambda k: ", ".join(name for name, value in PERMISSIONS.items() if value in k.permissions)),
        ("state", state_of),
        ("ends", lambda k: when(k, "expires_at")),
    ]
    show(access, found, columns)


@keys.command()
@click.argument("name")
@click.option("--project", required=True, help="Id of its project.")
@click.option("--user", default="", help="Id of the user it belongs to.")
@click.option(
    "--may", type=click.Choice(list(PERMISSIONS)), multiple=True, help="What it may do.  [default: generate]"
)
@click.option("--model", multiple=True, help="Models it may use, as patterns such as openai/*.")
@click.option("--for", "lasting", help="How long it works, such as 90d.  [default: for good]")
@admin_command
async def create(
    access: Access,
    name: str,
    project: str,
    user: str,
    may: tuple[str, ...],
    model: tuple[str, ...],
    lasting: str | None,
) -> None:
    """Make a key; its secret goes to standard output, this once."""
    key = entities_pb2.Key(
        display_name=name,
        project_id=project,
        user_id=user,
        permissions=[PERMISSIONS[each] for each in may],
        model_patterns=model,
    )
    if lasting:
        key.expires_at.CopyFrom(stamp(datetime.now(UTC) + duration_of(lasting)))
    async with access.admin() as api:
        made = await api.call("CreateKey", pb.CreateKeyRequest(key=key))
    secret_shown(access, made.key, f"{made.key.key_id} is made.", made.secret)


@keys.command()
@click.argument("key_id")
@click.option(
    "--grace", default="0s", show_default=True, help="How long the old secret works on, such as 24h."
)
@admin_command
async def rotate(access: Access, key_id: str, grace: str) -> None:
    """Give a key a new secret; it goes to standard output, this once."""
    async with access.admin() as api:
        seconds = int(duration_of(grace).total_seconds())
        made = await api.call("RotateKey", pb.RotateKeyRequest(key_id=key_id, grace_seconds=seconds))
    secret_shown(access, made.key, f"{key_id} has a new secret.", made.secret)


@keys.command()
@click.argument("key_id")
@admin_command
async def revoke(access: Access, key_id: str) -> None:
    """End a key; within a second nobody takes it any more."""
    async with access.admin() as api:
        after = (await api.call("RevokeKey", pb.RevokeKeyRequest(key_id=key_id))).key
    show_one(access, after, [("key", after.key_id), ("state", "revoked")])


@keys.command()
@click.option("--organisation", default="", help="Only this organisation's.")
@admin_command
async def admins(access: Access, organisation: str) -> None:
    """List admin tokens."""
    async with access.admin() as api:
        request = pb.ListAdminTokensRequest(organisation_id=organisation)
        found = await api.pages("ListAdminTokens", request, "admin_tokens", None)
    columns = [
        ("token", lambda t: t.admin_token_id),
        ("whose", lambda t: t.display_name),
        ("role", lambda t: entities_pb2.Role.Name(t.role).removeprefix("ROLE_").lower().replace("_", " ")),
        ("of", lambda t: t.team_id or t.organisation_id or "everything"),
        ("state", state_of),
        ("ends", lambda t: when(t, "expires_at")),
    ]
    show(access, found, columns)


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), required=True)
@click.option("--organisation", default="", help="Needed for all but operators.")
@click.option("--team", default="", help="Needed for team admins; binds a viewer to a team.")
@click.option("--for", "lasting", help="How long it works, such as 90d.  [default: for good]")
@admin_command
async def create_admin(
    access: Access, name: str, role: str, organisation: str, team: str, lasting: str | None
) -> None:
    """Make an admin token; its secret goes to standard output, this once."""
    token = entities_pb2.AdminToken(
        display_name=name, role=ROLES[role], organisation_id=organisation, team_id=team
    )
    if lasting:
        token.expires_at.CopyFrom(stamp(datetime.now(UTC) + duration_of(lasting)))
    async with access.admin() as api:
        made = await api.call("CreateAdminToken", pb.CreateAdminTokenRequest(admin_token=token))
    secret_shown(access, made.admin_token, f"{made.admin_token.admin_token_id} is made.", made.secret)


@keys.command()
@click.argument("admin_token_id")
@admin_command
async def revoke_admin(access: Access, admin_token_id: str) -> None:
    """End an admin token, at once."""
    async with access.admin() as api:
        request = pb.RevokeAdminTokenRequest(admin_token_id=admin_token_id)
        after = (await api.call("RevokeAdminToken", request)).admin_token
    show_one(access, after, [("token", after.admin_token_id), ("state", "revoked")])
