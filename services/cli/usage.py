"""`turnpike usage`: who consumes what, what it costs, and what it would cost otherwise."""

import asyncio
import contextlib
import json
from datetime import UTC
from typing import IO

import click
from rich.console import Console

from services.cli.admin import AdminApi, Column, document, duration_of, show, stamp, when
from services.cli.usage_reports import REPORT_COMMANDS
from services.cli.usage_words import (
    UsageAccess,
    by_option,
    group_columns,
    grouping,
    moment_of,
    range_of,
    range_options,
    usage_command,
)
from services.cli.words import dollars
from services.kernel.errors import OutcomeUnknown, ServiceUnavailable
from turnpike.analytics.v1 import analytics_pb2 as pb

GRANULARITIES = {
    name.removeprefix("GRANULARITY_").lower(): value for name, value in pb.Granularity.items() if value
}
FORMATS = {
    name.removeprefix("EXPORT_FORMAT_").lower().replace("_", "-"): value
    for name, value in pb.ExportFormat.items()
    if value
}
RESUMED_MAX = 5  # a service that goes away so often within one file is not well
RESUME_PAUSE_S = 1.0


@click.group()
def usage() -> None:
    """See who consumes what, what it costs, and what it would cost otherwise.

    Figures come from the ledger and are exact. The options --organisation to --tag say whose usage is meant; without
    any it is all that the admin token may see.
    """


@usage.command("sum")
@by_option
@click.option(
    "--each", type=click.Choice(list(GRANULARITIES)), help="A row for each minute, hour, day or month."
)
@click.option("--time-zone", default="UTC", show_default=True, help="Of days and months.")
@range_options
@usage_command
async def sum_(
    access: UsageAccess, by: tuple[str, ...], each: str | None, time_zone: str, since: str, until: str
) -> None:
    """Sum usage up: by key, team, model, tag, hour, …"""
    request = pb.QueryUsageRequest(
        scope=access.scope,
        range=range_of(since, until),
        granularity=GRANULARITIES[each] if each else pb.GRANULARITY_UNSPECIFIED,
        time_zone=time_zone,
        **grouping(by),
    )
    async with access.admin() as api:
        rows = await api.pages("QueryUsage", request, "rows", None)
    columns: list[Column] = [("since", lambda row: when(row, "start"))] if each else []
    columns += [
        *group_columns(by),
        (">requests", lambda row: f"{row.totals.requests:,}"),
        (">failed", lambda row: f"{row.totals.failed:,}"),
        (">tokens in", lambda row: f"{row.totals.input_tokens:,}"),
        (">cached", lambda row: f"{row.totals.cache_read_tokens:,}"),
        (">tokens out", lambda row: f"{row.totals.output_tokens:,}"),
        (">cost", lambda row: dollars(row.totals.cost.nanos)),
        (">unconfirmed", lambda row: dollars(row.totals.unconfirmed.nanos)),
    ]
    show(access, rows, columns)
    if not access.as_json:
        spent = sum(row.totals.cost.nanos for row in rows)
        click.echo(f"In all: {dollars(spent)}", err=True)


@usage.command()
@click.option("--since", default="", help="Also what came since then: a time, or how long ago, such as 1h.")
@click.option("--for", "lasting", help="Stop after so long, such as 10m.  [default: at Ctrl-C]")
@click.option("--rate", type=int, default=2, show_default=True, help="Most updates a second, up to 10.")
@usage_command
async def watch(access: UsageAccess, since: str, lasting: str | None, rate: int) -> None:
    """Follow usage as it happens, a line for each charge, with the sum so far."""
    request = pb.WatchUsageRequest(scope=access.scope, updates_per_second=rate)
    if since:
        request.since.CopyFrom(stamp(moment_of(since)))
    span_s = duration_of(lasting).total_seconds() if lasting else None
    spent = 0
    console = Console(highlight=False)
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(span_s),
            access.admin() as api,
            api.watch("WatchUsage", request) as news,
        ):
            async for each in news:
                if access.as_json:
                    click.echo(json.dumps(document(each), ensure_ascii=False))
                    continue
                untold = each.totals.cost.nanos - sum(event.cost.nanos for event in each.events)
                if untold:
                    spent += untold
                    console.print(f"[dim]before these[/] {dollars(untold)}", soft_wrap=True)
                for event in each.events:
                    spent += event.cost.nanos
                    console.print(_line(event, spent), markup=False, soft_wrap=True)


def _line(event: pb.UsageEvent, spent: int) -> str:
    at = event.occurred_at.ToDatetime(tzinfo=UTC).astimezone().strftime("%H:%M:%S")
    who = event.user_id or event.key_id
    return f"{at}  {dollars(event.cost.nanos):>14}  {event.model}  {event.outcome}  {who}  = {dollars(spent)}"


@usage.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option(
    "--format",
    "wanted",
    type=click.Choice(list(FORMATS)),
    default="csv",
    show_default=True,
    help="How it is written.",
)
@click.option("--resume", default="", help="Go on after the piece that an export gave this token with.")
@range_options
@usage_command
async def export(access: UsageAccess, file: str, wanted: str, resume: str, since: str, until: str) -> None:
    """Write usage to FILE, a row for each entry of the ledger that charged something or might have.

    Costs are there as whole billionths of a dollar and as decimals; what is not known is empty. focus-csv has the
    columns of the FinOps FOCUS specification. A connection that breaks is taken up where it was; if that fails, too,
    the token to go on with is printed.
    """
    request = pb.ExportUsageRequest(
        scope=access.scope, range=range_of(since, until), format=FORMATS[wanted], resume_token=resume
    )
    with click.open_file(file, "ab" if resume else "wb") as output:
        async with access.admin() as api:
            await _exported(api, request, output)


async def _exported(api: AdminApi, request: pb.ExportUsageRequest, output: IO[bytes]) -> None:
    broken = 0
    while True:
        try:
            async with api.watch("ExportUsage", request) as pieces:
                async for piece in pieces:
                    output.write(piece.content)
                    request.resume_token, broken = piece.resume_token, 0
                return
        except (ServiceUnavailable, OutcomeUnknown):
            broken += 1
            if broken > RESUMED_MAX:
                if request.resume_token:
                    click.echo(f"go on with --resume {request.resume_token}", err=True)
                raise
            await asyncio.sleep(RESUME_PAUSE_S)


for command in REPORT_COMMANDS:
    usage.add_command(command)
