"""Commands of `turnpike usage` that compare and foretell."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from services.cli.admin import WALK_TIMEOUT_S, show, show_one, stamp, time_of
from services.cli.usage_words import (
    UsageAccess,
    by_option,
    group_columns,
    grouping,
    range_of,
    range_options,
    usage_command,
)
from services.cli.words import dollars, percent
from turnpike.analytics.v1 import analytics_pb2 as pb


@click.command()
@click.option("--until", default="", help="By when, as a time or date.  [default: the end of the month]")
@click.option("--time-zone", default="UTC", show_default=True, help="Of the rhythm of days and weeks.")
@usage_command
async def forecast(access: UsageAccess, until: str, time_zone: str) -> None:
    """Say what will be spent from now until a date, with an interval if there is history enough."""
    end = time_of(until) if until else end_of_month(datetime.now(UTC), time_zone)
    request = pb.ForecastSpendRequest(scope=access.scope, until=stamp(end), time_zone=time_zone)
    async with access.admin() as api:
        made = await api.call("ForecastSpend", request)
    expected = dollars(made.expected.nanos) if made.HasField("expected") else "not known"
    fields = [("expected", f"{expected} more until {end.isoformat(timespec='minutes')}")]
    if made.HasField("low"):
        fields.append(("four in five", f"{dollars(made.low.nanos)} to {dollars(made.high.nanos)}"))
    fields += [("history", f"{made.history_days} days"), ("how", made.method)]
    show_one(access, made, fields)


def end_of_month(now: datetime, time_zone: str) -> datetime:
    """When the zone's month ends."""
    try:
        local = now.astimezone(ZoneInfo(time_zone))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise click.BadParameter(f"{time_zone}: is no IANA time zone such as Europe/Vienna") from error
    year, month = local.year + local.month // 12, local.month % 12 + 1
    return datetime(year, month, 1, tzinfo=local.tzinfo)


@click.command()
@click.option(
    "--baseline",
    default="",
    metavar="MODEL",
    help="Compare with this model.  [default: the ablest that was permitted for each request]",
)
@by_option
@range_options
@usage_command
async def savings(access: UsageAccess, baseline: str, by: tuple[str, ...], since: str, until: str) -> None:
    """Compare what was spent with what a baseline model would have cost for the same tokens.

    At list prices as they were then. What cannot be compared, because its tokens or the baseline's price are not known,
    is left out and said. "cache saved" is what vendors' prompt caches saved besides.
    """
    request = pb.QuerySavingsRequest(
        scope=access.scope, range=range_of(since, until), baseline_model=baseline, **grouping(by)
    )
    async with access.admin() as api:
        rows = (await api.call("QuerySavings", request, timeout_s=WALK_TIMEOUT_S)).rows
    columns = [
        *group_columns(by),
        (">requests", lambda row: f"{row.requests:,}"),
        (">spent", lambda row: dollars(row.actual.nanos)),
        (">baseline", lambda row: dollars(row.baseline.nanos)),
        (">saved", lambda row: dollars(row.baseline.nanos - row.actual.nanos)),
        (">", lambda row: percent(row.baseline.nanos - row.actual.nanos, row.baseline.nanos)),
        (">cache saved", lambda row: dollars(row.cache_saved.nanos)),
        (">not compared", lambda row: f"{row.not_comparable:,}"),
        (">left out", lambda row: dollars(row.left_out.nanos)),
    ]
    show(access, rows, columns)


@click.command()
@by_option
@range_options
@usage_command
async def waste(access: UsageAccess, by: tuple[str, ...], since: str, until: str) -> None:
    """List money that bought nothing, by kind, dearest first.

    \b
    failed       an attempt that failed and was charged
    cancelled    an answer whose reader left
    interrupted  an answer that broke off
    hedge        an attempt that another, asked beside it, outran
    cut          an answer that ended at its cap, or for want of budget
    unconfirmed  charged in full because nobody said what it cost
    rejected     a cheap answer that its check did not accept
    mirror       a copy for a shadow model
    """
    request = pb.QueryWasteRequest(scope=access.scope, range=range_of(since, until), **grouping(by))
    async with access.admin() as api:
        rows = (await api.call("QueryWaste", request, timeout_s=WALK_TIMEOUT_S)).rows
    columns = [
        ("kind", lambda row: row.kind),
        *group_columns(by),
        (">attempts", lambda row: f"{row.attempts:,}"),
        (">cost", lambda row: dollars(row.cost.nanos)),
    ]
    show(access, rows, columns)
    if not access.as_json:
        click.echo(f"In all: {dollars(sum(row.cost.nanos for row in rows))}", err=True)


REPORT_COMMANDS = (forecast, savings, waste)
