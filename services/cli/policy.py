"""`turnpike policy`: how an organisation's, a team's or a project's requests are routed, by documents in versions."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from services.cli.admin import Access, AdminApi, Column, document, show, show_one, when
from services.cli.policy_trial import TRIAL_COMMANDS
from services.cli.policy_words import (
    DOCUMENT,
    STATES,
    confirm,
    find_policy,
    insist_on_sound,
    organisation_of,
    organisation_option,
    policies_of,
    read_document,
    router_command,
    state_word,
    subject_of,
    version_in,
    versions_of,
    yes_option,
)
from turnpike.router.v1 import router_admin_pb2 as pb

_CHANGED: list[Column] = [
    ("changed", lambda p: when(p, "created_at")),
    ("by", lambda p: p.created_by),
    ("why", lambda p: p.comment),
]
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.group()
def policy() -> None:
    """Say how requests are routed: by documents in versions, tried before they act, taken back in one call.

    POLICY is a policy's id (pol_…), or whom it is for: an organisation (org_…), a team (team_…) or a project (proj_…).
    """


for command in TRIAL_COMMANDS:
    policy.add_command(command)


@policy.command("list")
@click.option("--scope", default="", help="Only those for this organisation, team or project.")
@organisation_option
@router_command
async def list_(access: Access, scope: str, organisation: str) -> None:
    """List policies in their newest versions."""
    subject = subject_of(scope) if scope else ""
    async with access.admin() as api:
        found = await policies_of(api, organisation_of(organisation, subject, access.demo), subject)
    columns: list[Column] = [
        ("policy", lambda p: p.policy_id),
        ("for", lambda p: p.scope.partition(":")[2]),
        (">version", lambda p: str(p.version)),
        ("state", state_word),
        *_CHANGED,
    ]
    show(access, found, columns)


@policy.command("show")
@click.argument("name", metavar="POLICY")
@click.option("--version", type=click.IntRange(min=1), help="An earlier one.  [default: the newest]")
@organisation_option
@router_command
async def show_(access: Access, name: str, version: int | None, organisation: str) -> None:
    """Print a policy's document, and on standard error what is known of it."""
    async with access.admin() as api:
        found = await find_policy(api, name, organisation or access.demo)
        if version is not None and version != found.version:
            found = version_in(await versions_of(api, found.policy_id), version)
    if access.as_json:
        show_one(access, found, [])
        return
    known = [_title(found), f"{when(found, 'created_at')} by {found.created_by}", found.comment]
    click.echo(f"# {' · '.join(filter(None, known))}", err=True)
    click.echo(found.document_yaml, nl=not found.document_yaml.endswith("\n"))


@policy.command()
@click.argument("name", metavar="POLICY")
@click.option("--most", type=click.IntRange(min=1), default=50, show_default=True)
@organisation_option
@router_command
async def versions(access: Access, name: str, most: int, organisation: str) -> None:
    """List a policy's versions, newest first."""
    async with access.admin() as api:
        found = await find_policy(api, name, organisation or access.demo)
        listed = await versions_of(api, found.policy_id, most)
    columns: list[Column] = [(">version", lambda p: str(p.version)), ("state", state_word), *_CHANGED]
    show(access, listed, columns)


@policy.command()
@click.argument("name", metavar="POLICY")
@click.argument("old", type=click.IntRange(min=1), required=False)
@click.argument("new", type=click.IntRange(min=1), required=False)
@click.option("--file", type=DOCUMENT, help="Compare with this document instead of a NEW version.")
@organisation_option
@router_command
async def diff(
    access: Access, name: str, old: int | None, new: int | None, file: Path | None, organisation: str
) -> None:
    """Show what changed between two versions, or what a document would change.

    Without NEW it is the newest version, without OLD the one before. With --file, OLD is the newest unless it is given.
    """
    if file is not None and new is not None:
        raise click.UsageError("a NEW version or a --file, one of both")
    text = read_document(file) if file is not None else ""
    async with access.admin() as api:
        found = await find_policy(api, name, organisation or access.demo)
        every = await versions_of(api, found.policy_id)
    after = pb.Policy(document_yaml=text) if file is not None else version_in(every, new or every[0].version)
    number = old or (every[0].version if file is not None else after.version - 1)
    before = version_in(every, number) if number else None
    lines = list(_difference(before, after, str(file) if file is not None else ""))
    if access.as_json:
        answer = {"policy_id": found.policy_id, "old_version": number, "new_version": after.version}
        click.echo(json.dumps({**answer, "diff": "\n".join(lines)}, ensure_ascii=False))
        return
    for line in lines or ["no difference"]:
        click.secho(line, fg=_COLOURS.get(line[:1]))


def _difference(before: Any, after: Any, file: str) -> Iterator[str]:
    """The lines of a unified diff; none if the documents are the same."""
    return difflib.unified_diff(
        before.document_yaml.splitlines() if before is not None else [],
        after.document_yaml.splitlines(),
        _title(before) if before is not None else "nothing",
        file or _title(after),
        lineterm="",
    )


def _title(policy: Any) -> str:
    return f"{policy.policy_id} version {policy.version} ({state_word(policy)}, for {policy.scope.partition(':')[2]})"


# ---- changes ---------------------------------------------------------------------------------------------------------
@policy.command()
@click.argument("file", type=DOCUMENT)
@click.option("--scope", default="", help="Whom it is for: an organisation, team or project by its id.")
@click.option("--policy", "policy_id", default="", help="Which one, by its id, instead of --scope.")
@click.option(
    "--state",
    type=click.Choice(list(STATES)),
    help="Whether it acts.  [default: active; with --policy, as it is]",
)
@click.option(
    "--shadow", is_flag=True, help="--state shadow: it decides beside the active one and does not act."
)
@click.option(
    "--expect", type=click.IntRange(min=0), help="Only if this is the newest version; 0: if there is none."
)
@click.option("--comment", default="", help="Why, for whoever reads the versions.")
@organisation_option
@router_command
async def put(access: Access, file: Path, **given: Any) -> None:
    """Put a document in force: a new version of the scope's policy, or its first.

    A scope has one active policy and one in shadow. What is wrong with FILE is said as FILE:LINE:COLUMN, and nothing is
    changed. If somebody else changes the policy meanwhile, the command fails and the other change stands.
    """
    if bool(given["scope"]) == bool(given["policy_id"]):
        raise click.UsageError("say whom it is for with --scope, or which one it is with --policy")
    if given["shadow"] and given["state"] not in (None, "shadow"):
        raise click.UsageError(f"--shadow and --state {given['state']} contradict each other")
    state = "shadow" if given["shadow"] else given["state"]
    scope = subject_of(given["scope"]) if given["scope"] else ""
    text = read_document(file)
    async with access.admin() as api:
        organisation = organisation_of(given["organisation"], scope, access.demo)
        await insist_on_sound(api, file, text, organisation)
        if given["policy_id"]:
            before = await find_policy(api, given["policy_id"], organisation)
            state = state or state_word(before)
        else:
            state = state or "active"
            before = await _acting(api, organisation, scope, state)
        wanted = pb.Policy(
            policy_id=before.policy_id if before is not None else "",
            organisation_id=before.organisation_id if before is not None else organisation,
            scope=before.scope if before is not None else scope,
            document_yaml=text,
            state=STATES[state],
            comment=given["comment"],
        )
        after, changed = await _put(api, wanted, before, given["expect"])
    _shown(access, after, [] if changed else [("", "unchanged: it is so already")])


async def _acting(api: AdminApi, organisation: str, scope: str, state: str) -> Any:
    """The scope's policy in this state; None: it has none, or the state is one in which it may have many."""
    if state == "inactive":
        return None
    return next(
        (each for each in await policies_of(api, organisation, scope) if each.state == STATES[state]), None
    )


async def _put(api: AdminApi, wanted: pb.Policy, before: Any, expect: int | None) -> tuple[Any, bool]:
    """The policy in force, and whether that is news."""
    present = before.version if before is not None else 0
    if expect is not None and bool(expect) != bool(present):
        there = f"is at version {present}" if present else "is not there"
        raise click.ClickException(
            f"The policy {there}, and version {expect} was expected; nothing was changed."
        )
    expected = present if expect is None else expect
    same = before is not None and (before.document_yaml, before.state) == (wanted.document_yaml, wanted.state)
    if same and expected == present:
        return before, False
    request = pb.PutPolicyRequest(policy=wanted, expected_version=expected)
    return (await api.call("PutPolicy", request)).policy, True


def _shown(access: Access, after: Any, more: list[tuple[str, str]]) -> None:
    fields = [
        ("policy", after.policy_id),
        ("for", after.scope.partition(":")[2]),
        ("version", str(after.version)),
        ("state", state_word(after)),
    ]
    show_one(access, after, fields + more)


@policy.command("state")
@click.argument("name", metavar="POLICY")
@click.argument("state", type=click.Choice(list(STATES)))
@click.option("--comment", default="", help="Why.")
@organisation_option
@router_command
async def state_(access: Access, name: str, state: str, comment: str, organisation: str) -> None:
    """Let a policy act, decide in shadow, or rest; its document stays."""
    async with access.admin() as api:
        before = await find_policy(api, name, organisation or access.demo)
        wanted = pb.Policy()
        wanted.CopyFrom(before)
        wanted.state, wanted.comment = STATES[state], comment
        after, changed = await _put(api, wanted, before, None)
    _shown(access, after, [] if changed else [("", "unchanged: it is so already")])


@policy.command()
@click.argument("name", metavar="POLICY")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--comment", default="", help="Why.")
@organisation_option
@router_command
async def rollback(access: Access, name: str, version: int | None, comment: str, organisation: str) -> None:
    """Put an earlier version's document in force again, as a new version.

    Without VERSION it is the one before the newest.
    """
    async with access.admin() as api:
        before = await find_policy(api, name, organisation or access.demo)
        version = version or before.version - 1
        if version == 0:
            raise click.ClickException(f"{before.policy_id} has no earlier version.")
        request = pb.RollBackPolicyRequest(policy_id=before.policy_id, version=version, comment=comment)
        after = (await api.call("RollBackPolicy", request)).policy
    _shown(access, after, [("as", f"version {version}")])


@policy.command()
@click.argument("name", metavar="POLICY")
@yes_option
@organisation_option
@router_command
async def delete(access: Access, name: str, yes: bool, organisation: str) -> None:
    """Take a policy out of force for good; its versions can still be read.

    What it governed is decided by the next wider one, or by the built-in rules.
    """
    async with access.admin() as api:
        before = await find_policy(api, name, organisation or access.demo)
        confirm(f"Take {_title(before)} out of force for good?", yes=yes)
        await api.call("DeletePolicy", pb.DeletePolicyRequest(policy_id=before.policy_id))
    if access.as_json:
        click.echo(json.dumps(document(before), ensure_ascii=False))
        return
    click.echo(f"{before.policy_id} is out of force.")
