"""Commands of `turnpike budget` for what changes a limit for a while, by transfer or by agreement."""

from datetime import UTC, datetime

import click

from services.cli.admin import (
    Access,
    admin_command,
    duration_of,
    figure,
    limit_of,
    show,
    show_one,
    stamp,
    when,
)
from services.cli.budget_words import STATUS_COLUMNS
from turnpike.budget.v1 import budget_admin_pb2 as pb


@click.command()
@click.argument("budget_id")
@click.option("--limit", required=True, help="The limit in its stead.")
@click.option("--for", "lasting", required=True, help="How long, such as 2h or 3d.")
@click.option("--reason", required=True)
@admin_command
async def override(access: Access, budget_id: str, limit: str, lasting: str, reason: str) -> None:
    """Put another limit in force for a while."""
    async with access.admin() as api:
        present = (await api.call("GetBudget", pb.GetBudgetRequest(budget_id=budget_id))).budget
        wanted = pb.BudgetOverride(
            budget_id=budget_id,
            limit=limit_of(limit, present.unit),
            reason=reason,
            ends_at=stamp(datetime.now(UTC) + duration_of(lasting)),
        )
        made = (
            await api.call("CreateBudgetOverride", pb.CreateBudgetOverrideRequest(override=wanted))
        ).override
    fields = [
        ("override", made.override_id),
        ("limit", figure(present, made.limit)),
        ("until", when(made, "ends_at")),
    ]
    show_one(access, made, fields)


@click.command()
@click.argument("override_id")
@admin_command
async def revoke_override(access: Access, override_id: str) -> None:
    """Take an override back."""
    async with access.admin() as api:
        request = pb.RevokeBudgetOverrideRequest(override_id=override_id)
        after = (await api.call("RevokeBudgetOverride", request)).override
    show_one(access, after, [("override", after.override_id), ("revoked", when(after, "revoked_at"))])


@click.command()
@click.argument("source")
@click.argument("target")
@click.argument("amount")
@click.option("--reason", required=True)
@admin_command
async def transfer(access: Access, source: str, target: str, amount: str, reason: str) -> None:
    """Move AMOUNT of SOURCE's limit of the present window to TARGET's."""
    async with access.admin() as api:
        present = (await api.call("GetBudget", pb.GetBudgetRequest(budget_id=source))).budget
        request = pb.TransferBudgetRequest(
            from_budget_id=source, to_budget_id=target, amount=limit_of(amount, present.unit), reason=reason
        )
        done = await api.call("TransferBudget", request)
    show(access, [getattr(done, "from"), done.to], STATUS_COLUMNS)


@click.command("raise")
@click.argument("budget_id")
@click.option("--limit", required=True, help="The limit that is wished for.")
@click.option("--for", "lasting", help="How long.  [default: for good]")
@click.option("--reason", required=True)
@admin_command
async def raise_(access: Access, budget_id: str, limit: str, lasting: str | None, reason: str) -> None:
    """Ask for a higher limit."""
    async with access.admin() as api:
        present = (await api.call("GetBudget", pb.GetBudgetRequest(budget_id=budget_id))).budget
        wish = pb.LimitRaise(budget_id=budget_id, limit=limit_of(limit, present.unit), reason=reason)
        if lasting:
            wish.ends_at.CopyFrom(stamp(datetime.now(UTC) + duration_of(lasting)))
        made = (
            await api.call("RequestLimitRaise", pb.RequestLimitRaiseRequest(limit_raise=wish))
        ).limit_raise
    show_one(access, made, [("wish", made.limit_raise_id), ("limit", figure(present, made.limit))])


@click.command()
@click.option("--all", "everything", is_flag=True, help="Answered ones too.")
@admin_command
async def raises(access: Access, everything: bool) -> None:
    """List wishes for more."""
    state = pb.LIMIT_RAISE_STATE_UNSPECIFIED if everything else pb.LIMIT_RAISE_STATE_PENDING
    async with access.admin() as api:
        wishes = await api.pages(
            "ListLimitRaises", pb.ListLimitRaisesRequest(state=state), "limit_raises", None
        )
    columns = [
        ("wish", lambda w: w.limit_raise_id),
        ("budget", lambda w: w.budget_id),
        (">limit", lambda w: f"{w.limit:,}"),
        ("reason", lambda w: w.reason),
        ("state", lambda w: pb.LimitRaiseState.Name(w.state).removeprefix("LIMIT_RAISE_STATE_").lower()),
        ("made", lambda w: when(w, "created_at")),
    ]
    show(access, wishes, columns)


@click.command()
@click.argument("wish")
@click.option("--answer", default="", help="What to tell the asker.")
@admin_command
async def approve(access: Access, wish: str, answer: str) -> None:
    """Grant a wish for more."""
    async with access.admin() as api:
        request = pb.ApproveLimitRaiseRequest(limit_raise_id=wish, answer=answer)
        after = (await api.call("ApproveLimitRaise", request)).limit_raise
    show_one(access, after, [("wish", after.limit_raise_id), ("state", "approved")])


@click.command()
@click.argument("wish")
@click.option("--answer", default="", help="What to tell the asker.")
@admin_command
async def deny(access: Access, wish: str, answer: str) -> None:
    """Turn a wish for more down."""
    async with access.admin() as api:
        request = pb.DenyLimitRaiseRequest(limit_raise_id=wish, answer=answer)
        after = (await api.call("DenyLimitRaise", request)).limit_raise
    show_one(access, after, [("wish", after.limit_raise_id), ("state", "denied")])


LIMIT_COMMANDS = (override, revoke_override, transfer, raise_, raises, approve, deny)
