"""Commands of `turnpike policy` that change nothing: check a document, try it on the past, see who changed what."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from services.cli.admin import WALK_TIMEOUT_S, Access, Column, document, show, stamp, when
from services.cli.policy_words import (
    DOCUMENT,
    DOCUMENTS_AT_ONCE,
    insist_on_sound,
    organisation_of,
    organisation_option,
    problem_line,
    problems_of,
    read_document,
    router_command,
    subject_of,
)
from services.cli.usage_words import moment_of, range_options
from services.cli.words import dollars
from turnpike.router.v1 import router_admin_pb2 as pb

GROUPS = ("team", "project", "task", "model")
MODELS_SHOWN = 4  # those that would have got most; --json has all
VALUE_CHARS = 40  # of what changed, in the trail; whatever is longer is named alone
_NO_NEWS = ("kind", "version", "created_at", "created_by", "comment")


@click.command()
@click.argument("files", type=DOCUMENT, nargs=-1, required=True)
@organisation_option
@router_command
async def check(access: Access, files: tuple[Path, ...], organisation: str) -> None:
    """Check documents, as the router reads them, before anything is in force.

    What is wrong is said as FILE:LINE:COLUMN. Ends with 1 if any cannot be put in force; warnings alone let it pass.
    """
    wrong = 0
    async with access.admin() as api:
        for file in files:
            finding = await problems_of(api, read_document(file), organisation or access.demo)
            wrong += not finding.valid
            if access.as_json:
                click.echo(json.dumps({"file": str(file), **document(finding)}, ensure_ascii=False))
                continue
            for problem in finding.problems:
                click.echo(problem_line(file, problem))
            if finding.valid:
                click.echo(f"{file}: sound")
    if wrong:
        raise SystemExit(1)


@click.command()
@click.argument("file", type=DOCUMENT)
@click.option("--by", type=click.Choice(GROUPS), help="A row for each of them.  [default: all together]")
@click.option("--scope", default="", help="Only requests of this organisation, team or project.")
@range_options
@organisation_option
@router_command
async def simulate(
    access: Access, file: Path, by: str | None, scope: str, since: str, until: str, organisation: str
) -> None:
    """Show what a document would have changed of the past.

    Requests are decided again by it, by the engine itself, and nobody is called. Costs are of the tokens that were
    used, at today's prices; qualities are expected ones. --by model tells the models that answered apart: each row says
    where their requests would have gone. What failed then has cost nothing before and costs something after: --by model
    tells it apart as "no answer". The newest 20,000 are looked at.
    """
    subject = subject_of(scope) if scope else ""
    whose = organisation_of(organisation, subject, access.demo)
    text = read_document(file)
    request = pb.SimulatePolicyRequest(
        organisation_id=whose,
        document_yaml=text,
        occurred_from=stamp(moment_of(since)),
        occurred_until=stamp(moment_of(until) if until else datetime.now(UTC)),
        group_by=by or "",
        scope=subject,
    )
    async with access.admin() as api:
        await insist_on_sound(api, file, text, whose)
        found = await api.call("SimulatePolicy", request, timeout_s=WALK_TIMEOUT_S)
    unnamed = "no answer" if by == "model" else "–"
    columns: list[Column] = [(by, lambda line: line.group or unnamed)] if by else []
    columns += [
        (">requests", lambda line: f"{line.requests:,}"),
        (">moved", lambda line: f"{line.moved:,}"),
        (">refused", lambda line: f"{line.refused_after:,}"),
        (">cost before", lambda line: dollars(line.cost_before.nanos)),
        (">after", lambda line: dollars(line.cost_after.nanos)),
        ("", _change),
        (">quality before", lambda line: _quality(line, "quality_before")),
        (">after", lambda line: _quality(line, "quality_after")),
        ("would have gone to", _models),
    ]
    show(access, found.lines, columns)
    if not access.as_json:
        click.echo(
            f"{found.decisions_replayed:,} past requests were decided again; nobody was called.", err=True
        )


def _change(line: Any) -> str:
    before = line.cost_before.nanos
    return f"{100 * (line.cost_after.nanos - before) / before:+.0f} %" if before else ""


def _quality(line: Any, name: str) -> str:
    return f"{getattr(line, name):.2f}" if line.HasField(name) else "unknown"


def _models(line: Any) -> str:
    """Where the requests would have gone, most first."""
    models = sorted(line.models_after.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{model} {count:,}" for model, count in models[:MODELS_SHOWN]]
    rest = sum(count for _, count in models[MODELS_SHOWN:])
    return ", ".join([*shown, f"others {rest:,}"] if rest else shown)


@click.command()
@click.option("--entity", default="", help="Only what was done to this policy, grant (by id) or alias.")
@click.option(
    "--shared", is_flag=True, help="What concerns all organisations, such as priors; for operators."
)
@click.option("--most", type=click.IntRange(min=1), default=50, show_default=True)
@organisation_option
@router_command
async def audit(access: Access, entity: str, shared: bool, most: int, organisation: str) -> None:
    """List what admins changed of policies, grants and aliases, newest first."""
    request = pb.ListRouterAuditRecordsRequest(
        organisation_id="" if shared else organisation or access.demo, entity_id=entity
    )
    async with access.admin() as api:
        records = await api.pages(
            "ListRouterAuditRecords", request, "audit_records", most, page_size=DOCUMENTS_AT_ONCE
        )
    columns: list[Column] = [
        ("when", lambda r: when(r, "occurred_at")),
        ("who", lambda r: r.admin_token_id),
        ("what", lambda r: r.method),
        ("on", lambda r: r.entity_id),
        ("changed", lambda r: _changed(_entity(r.before_json), _entity(r.after_json))),
        ("why", lambda r: str(_entity(r.after_json).get("comment", ""))),
    ]
    show(access, records, columns)


def _entity(text: str) -> Mapping[str, Any]:
    """What was changed, as the trail has it; nothing: there was none."""
    found: Mapping[str, Any] = json.loads(text) if text else {}
    return found


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What a change changed, in a line: short values from what to what, long ones by name."""
    if not before or not after:
        return "made" if after else "removed"
    changes = []
    for name in after:
        old, new = str(before.get(name, "")), str(after[name])
        if name in _NO_NEWS or old == new:
            continue
        short = max(len(old), len(new)) <= VALUE_CHARS and "\n" not in old + new
        changes.append(f"{name}: {old or '–'} → {new or '–'}" if short else name)
    return ", ".join(changes)


TRIAL_COMMANDS = (check, simulate, audit)
