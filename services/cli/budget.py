"""`turnpike budget`: who may spend how much, and how it stands."""

from typing import Any

import click

from services.cli.admin import (
    Access,
    admin_command,
    figure,
    limit_of,
    show,
    show_one,
    state_of,
)
from services.cli.budget_entities import ENTITY_GROUPS
from services.cli.budget_limits import LIMIT_COMMANDS
from services.cli.budget_reports import REPORT_COMMANDS
from services.cli.budget_words import (
    PERIODS,
    STATUS_COLUMNS,
    only_organisation,
    subject_of,
    window_from,
    window_of,
)
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2

UNITS = {
    name.removeprefix("BUDGET_UNIT_").lower(): value for name, value in error_pb2.BudgetUnit.items() if value
}
MODES = {
    name.removeprefix("BUDGET_MODE_").lower(): value
    for name, value in entities_pb2.BudgetMode.items()
    if value
}


@click.group()
def budget() -> None:
    """Say who may spend how much, and see how it stands."""


for command in (*ENTITY_GROUPS, *LIMIT_COMMANDS, *REPORT_COMMANDS):
    budget.add_command(command)


# ---- budgets ---------------------------------------------------------------------------------------------------------
@budget.command("list")
@click.option("--organisation", default="", help="Only this organisation's.")
@click.option("--archived", is_flag=True, help="Archived ones too.")
@admin_command
async def list_(access: Access, organisation: str, archived: bool) -> None:
    """List budgets."""
    async with access.admin() as api:
        request = pb.ListBudgetsRequest(organisation_id=organisation, include_archived=archived)
        budgets = await api.pages("ListBudgets", request, "budgets", None)
    columns = [
        ("budget", lambda b: b.budget_id),
        ("name", lambda b: b.display_name),
        ("attached to", subject_of),
        (">limit", lambda b: figure(b, b.limit)),
        ("each", window_of),
        ("mode", lambda b: entities_pb2.BudgetMode.Name(b.mode).removeprefix("BUDGET_MODE_").lower()),
        ("models", lambda b: getattr(b.model_scope, b.model_scope.WhichOneof("scope") or "", "all")),
        ("state", state_of),
    ]
    show(access, budgets, columns)


@budget.command()
@click.argument("budget_id", required=False)
@click.option("--organisation", default="", help="Of which organisation; operators must say.")
@admin_command
async def status(access: Access, budget_id: str | None, organisation: str) -> None:
    """Show how budgets stand: one, or an organisation's."""
    async with access.admin() as api:
        if budget_id:
            answer = await api.call("GetBudgetStatus", pb.GetBudgetStatusRequest(budget_id=budget_id))
            statuses = [answer.status]
        else:
            organisation = organisation or await only_organisation(api)
            request = pb.ListBudgetStatusesRequest(organisation_id=organisation)
            statuses = await api.pages("ListBudgetStatuses", request, "statuses", None)
    show(access, statuses, STATUS_COLUMNS)


@budget.command()
@click.argument("budget_ids", nargs=-1)
@click.option("--organisation", default="", help="Of which organisation; operators must say.")
@admin_command
async def watch(access: Access, budget_ids: tuple[str, ...], organisation: str) -> None:
    """Follow how budgets stand, a line for each change, until Ctrl-C."""
    async with access.admin() as api:
        organisation = organisation or await only_organisation(api)
        request = pb.WatchBudgetsRequest(organisation_id=organisation, budget_ids=budget_ids)
        async with api.watch("WatchBudgets", request) as batches:
            async for batch in batches:
                if batch.statuses:
                    show(access, batch.statuses, STATUS_COLUMNS)


@budget.command()
@click.option("--name", required=True, help="For people.")
@click.option(
    "--to",
    "subject",
    required=True,
    help="What it is attached to: org_…, team_…, proj_…, key_… or user_….",
)
@click.option("--limit", required=True, help="Dollars for money, a whole number for everything else.")
@click.option("--unit", type=click.Choice(list(UNITS)), default="money", show_default=True)
@click.option(
    "--per",
    type=click.Choice(["lifetime", "request", *PERIODS]),
    default="lifetime",
    help="When it begins anew.",
)
@click.option("--every", help="Begins anew every so long since now, such as 48h, instead of --per.")
@click.option("--rolling", help="Counts the last so long, such as 24h, instead of --per.")
@click.option("--time-zone", default="", help="Of --per.  [default: the organisation's]")
@click.option(
    "--start-day", type=int, default=0, help="Day on which --per week, month, quarter or year begins."
)
@click.option("--mode", type=click.Choice(list(MODES)), default="hard", show_default=True)
@click.option(
    "--alert-at", type=int, multiple=True, help="Percent of the limit at which to alert; may be repeated."
)
@click.option("--model", default="", help='Counts this "provider/model" alone.')
@click.option("--model-group", default="", help="Counts the models of this group alone.")
@click.option("--provider", default="", help="Counts this provider's models alone.")
@admin_command
async def create(access: Access, **given: Any) -> None:
    """Make a budget."""
    unit = UNITS[given["unit"]]
    wanted = entities_pb2.Budget(
        display_name=given["name"],
        unit=unit,
        limit=limit_of(given["limit"], unit),
        mode=MODES[given["mode"]],
        alert_percents=given["alert_at"],
        window=window_from(given),
    )
    prefix = given["subject"].partition("_")[0]
    kinds = {
        "org": "organisation_id",
        "team": "team_id",
        "proj": "project_id",
        "key": "key_id",
        "user": "user_id",
    }
    if prefix not in kinds:
        raise click.BadParameter(
            f"{given['subject']}: is no id of an organisation, team, project, key or user"
        )
    setattr(wanted.subject, kinds[prefix], given["subject"])
    for scope in ("model", "model_group", "provider"):
        if given[scope]:
            setattr(wanted.model_scope, scope, given[scope])
    async with access.admin() as api:
        made = await api.call("CreateBudget", pb.CreateBudgetRequest(budget=wanted))
    show_one(
        access,
        made.budget,
        [("budget", made.budget.budget_id), ("limit", figure(made.budget, made.budget.limit))],
    )


@budget.command()
@click.argument("budget_id")
@click.option("--name", help="For people.")
@click.option("--limit", help="Dollars for money, a whole number for everything else.")
@click.option("--mode", type=click.Choice(list(MODES)))
@click.option("--state", type=click.Choice(["active", "suspended"]))
@admin_command
async def update(
    access: Access, budget_id: str, name: str | None, limit: str | None, mode: str | None, state: str | None
) -> None:
    """Change a budget; the next hold is decided by it."""
    async with access.admin() as api:
        present = (await api.call("GetBudget", pb.GetBudgetRequest(budget_id=budget_id))).budget
        request = pb.UpdateBudgetRequest(budget=entities_pb2.Budget(budget_id=budget_id, etag=present.etag))
        changes: dict[str, Any] = {
            "display_name": name,
            "limit": None if limit is None else limit_of(limit, present.unit),
            "mode": None if mode is None else MODES[mode],
            "state": None
            if state is None
            else entities_pb2.EntityState.Value(f"ENTITY_STATE_{state.upper()}"),
        }
        for field, value in changes.items():
            if value is not None:
                setattr(request.budget, field, value)
                request.update_mask.paths.append(field)
        if not request.update_mask.paths:
            raise click.UsageError("nothing is to be changed")
        after = (await api.call("UpdateBudget", request)).budget
    show_one(
        access,
        after,
        [("budget", after.budget_id), ("limit", figure(after, after.limit)), ("state", state_of(after))],
    )


@budget.command()
@click.argument("budget_id")
@admin_command
async def archive(access: Access, budget_id: str) -> None:
    """Take a budget out for good; the ledger keeps what it counted."""
    async with access.admin() as api:
        after = (await api.call("ArchiveBudget", pb.ArchiveBudgetRequest(budget_id=budget_id))).budget
    show_one(access, after, [("budget", after.budget_id), ("state", state_of(after))])
