"""What `turnpike policy`, `grant` and `alias` share: the router as admins call it, for whom a rule is, documents."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from services.cli.admin import AdminApi, service_command
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1.router_admin_pb2_grpc import RouterAdminServiceStub

STATES = {
    name.removeprefix("POLICY_STATE_").lower(): value for name, value in pb.PolicyState.items() if value
}
KINDS = {"org": "organisation", "team": "team", "proj": "project", "key": "key"}
DOCUMENTS_AT_ONCE = 50  # in a page: each has at most 64 KiB, a record of the trail has two of them
DOCUMENT_BYTES_READ = 1 << 20  # far more than a router takes, which says how much that is

DOCUMENT = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)

router_command = service_command("router", "TURNPIKE_ADDRESS", RouterAdminServiceStub)
organisation_option = click.option(
    "--organisation", default="", help="Whose; operators must say.  [default: the local demo's]"
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def subject_of(text: str, *, keys: bool = False) -> str:
    """Whom an id means, as the contract spells it: `team:team_…`. Raises click.BadParameter."""
    kind, colon, identity = text.partition(":")
    identity = identity if colon else text
    named = KINDS.get(identity.partition("_")[0])
    if named is None or (colon and kind != named) or (named == "key" and not keys):
        kinds = "an organisation, team, project or key" if keys else "an organisation, team or project"
        raise click.BadParameter(f"{text}: is no id of {kinds}, such as team_…")
    return f"{named}:{identity}"


def organisation_of(asked: str, subject: str, demo: str) -> str:
    """The organisation that is meant: the one asked for, the subject itself or the local demo's; empty: the admin's."""
    if not asked and subject.startswith("organisation:"):
        return subject.partition(":")[2]
    return asked or demo


def state_word(policy: Any) -> str:
    """Whether a policy acts, in a word."""
    return pb.PolicyState.Name(policy.state).removeprefix("POLICY_STATE_").lower()


def confirm(question: str, *, yes: bool) -> None:
    """Asks a person, on standard error; ends the command unless the answer is yes."""
    if not yes:
        click.confirm(question, abort=True, err=True)


# ---- policies --------------------------------------------------------------------------------------------------------
async def policies_of(api: AdminApi, organisation: str, scope: str = "") -> list[Any]:
    """An organisation's policies in their newest versions, those of a scope alone if one is named."""
    request = pb.ListPoliciesRequest(organisation_id=organisation)
    found = await api.pages("ListPolicies", request, "policies", None, page_size=DOCUMENTS_AT_ONCE)
    return [each for each in found if scope in ("", each.scope)]


async def versions_of(api: AdminApi, policy_id: str, most: int | None = None) -> list[Any]:
    """A policy's versions, newest first. Raises click.ClickException if there is none."""
    request = pb.ListPolicyVersionsRequest(policy_id=policy_id)
    found = await api.pages("ListPolicyVersions", request, "versions", most, page_size=DOCUMENTS_AT_ONCE)
    if not found:
        raise click.ClickException(f"There is no policy {policy_id}.")
    return found


async def find_policy(api: AdminApi, name: str, organisation: str) -> Any:
    """A policy in its newest version, by its id or by whom it is for. Raises click.ClickException."""
    if name.startswith("pol_"):
        (newest,) = await versions_of(api, name, 1)
        return newest
    scope = subject_of(name)
    found = await policies_of(api, organisation, scope)
    acting = [each for each in found if each.state == pb.POLICY_STATE_ACTIVE]
    for those in (acting, found):
        if len(those) == 1:
            return those[0]
    ids = ", ".join(f"{each.policy_id} ({state_word(each)})" for each in found)
    raise click.ClickException(
        f"{scope} has several policies: say which of {ids}" if found else f"{scope} has none."
    )


def version_in(versions: Sequence[Any], number: int) -> Any:
    """One of a policy's versions. Raises click.ClickException if it is none of them."""
    for each in versions:
        if each.version == number:
            return each
    raise click.ClickException(
        f"{versions[0].policy_id} has no version {number}; its newest is {versions[0].version}."
    )


# ---- documents -------------------------------------------------------------------------------------------------------
def read_document(file: Path) -> str:
    """What a file holds, or standard input for `-`. Raises click.ClickException if it is no text."""
    if str(file) == "-":
        content = sys.stdin.buffer.read(DOCUMENT_BYTES_READ)
    else:
        with file.open("rb") as opened:
            content = opened.read(DOCUMENT_BYTES_READ)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: is no text in UTF-8") from error


async def problems_of(api: AdminApi, document: str, organisation: str) -> Any:
    """What the router finds wrong with a document."""
    request = pb.ValidatePolicyRequest(document_yaml=document, organisation_id=organisation)
    return await api.call("ValidatePolicy", request)


def problem_line(file: Path, problem: Any) -> str:
    """A problem as compilers write it: FILE:LINE:COLUMN, so that editors jump there."""
    place = f"{file}:{problem.line}:{problem.column}" if problem.line else str(file)
    said = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return f"{place}: {'warning' if problem.warning else 'error'}: {said}"


async def insist_on_sound(api: AdminApi, file: Path, document: str, organisation: str) -> None:
    """Says on standard error what is wrong with a document; ends the command if it cannot be put in force."""
    finding = await problems_of(api, document, organisation)
    for problem in finding.problems:
        click.echo(problem_line(file, problem), err=True)
    if not finding.valid:
        raise click.ClickException(f"{file} cannot be put in force; nothing was changed.")
