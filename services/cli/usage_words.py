"""What the commands of `turnpike usage` share: whose usage, of when, told apart by what."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import update_wrapper
from typing import Any, TypeVar

import click

from services.cli.admin import Access, Column, duration_of, service_command, stamp, time_of
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub

Command = TypeVar("Command", bound=Callable[..., Any])

GROUPINGS = {
    name.removeprefix("GROUPING_").lower(): value
    for name, value in pb.Grouping.items()
    if value not in (pb.GROUPING_UNSPECIFIED, pb.GROUPING_DIMENSION)
}
TAG = "tag:"
_DURATION = re.compile(r"\d+\s*[smhdw]")


@dataclass(frozen=True, slots=True)
class UsageAccess(Access):
    """Whom to ask, as whom, about whose usage, and how to show the answers."""

    scope: pb.UsageScope = field(default_factory=pb.UsageScope)


_OPTIONS = (
    click.option(
        "--organisation", default="", help="Whose; operators must say.  [default: the local demo's]"
    ),
    click.option("--team", default="", help="Only of this team."),
    click.option("--project", default="", help="Only of this project."),
    click.option("--key", default="", help="Only of this key, by its id."),
    click.option("--user", default="", help="Only of this user."),
    click.option("--model", default="", help="Only of models of this pattern, such as openai/*."),
    click.option(
        "--tag", multiple=True, metavar="NAME=VALUE", help="Only what is so tagged; may be repeated."
    ),
)


def usage_command(command: Command) -> Command:
    """Makes an async function whose first parameter is a UsageAccess a command with the options for one."""

    async def run(access: Access, **given: Any) -> None:
        whose = {name: given.pop(name) for name in ("organisation", "team", "project", "key", "user")}
        whose["organisation"] = whose["organisation"] or access.demo
        scope = pb.UsageScope(
            **{f"{name}_id": value for name, value in whose.items()},
            model_pattern=given.pop("model"),
            dimensions=dict(_pair(tag) for tag in given.pop("tag")),
        )
        known = {each.name: getattr(access, each.name) for each in fields(access)}
        await command(UsageAccess(**known, scope=scope), **given)

    update_wrapper(run, command)
    run.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        run = option(run)
    return _ANALYTICS(run)  # type: ignore[return-value]


_ANALYTICS = service_command("analytics", "TURNPIKE_ANALYTICS_ADDRESS", AnalyticsServiceStub)


def _pair(tag: str) -> tuple[str, str]:
    name, equals, value = tag.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{tag}: is not NAME=VALUE")
    return name, value


# ---- of when ---------------------------------------------------------------------------------------------------------
def range_options(command: Command) -> Command:
    """Options for a span of time."""
    since = click.option(
        "--since", default="24h", show_default=True, help="From when on: a time, or how long ago, such as 7d."
    )
    until = click.option("--until", default="", help="Until when, likewise.  [default: now]")
    return since(until(command))


def moment_of(text: str, now: datetime | None = None) -> datetime:
    """A time or date as ISO 8601 says it, or how long ago."""
    if _DURATION.fullmatch(text.strip().lower()):
        return (now or datetime.now(UTC)) - duration_of(text)
    return time_of(text)


def range_of(since: str, until: str) -> pb.TimeRange:
    """A span as options say it."""
    span = pb.TimeRange(**{"from": stamp(moment_of(since))})
    if until:
        span.until.CopyFrom(stamp(moment_of(until)))
    return span


# ---- told apart by what ----------------------------------------------------------------------------------------------
def by_option(command: Command) -> Command:
    """The option for groupings."""
    return click.option(
        "--by",
        multiple=True,
        metavar="WHAT",
        help=f"Tell apart by {', '.join(GROUPINGS)}, or {TAG}NAME; up to three.",
    )(command)


def grouping(by: tuple[str, ...]) -> dict[str, Any]:
    """Fields of a request for groupings."""
    groups, dimension = [], ""
    for word in by:
        if word.startswith(TAG):
            groups.append(pb.GROUPING_DIMENSION)
            dimension = word.removeprefix(TAG)
        elif word in GROUPINGS:
            groups.append(GROUPINGS[word])
        else:
            raise click.BadParameter(f"--by {word}: is none of {', '.join(GROUPINGS)}, {TAG}NAME")
    return {"group_by": groups, "dimension": dimension}


def group_columns(by: tuple[str, ...]) -> list[Column]:
    """Columns for the values of groupings."""

    def of(place: int) -> Callable[[Any], str]:
        return lambda row: str(row.group[place]) or "–"

    return [(word.removeprefix(TAG), of(place)) for place, word in enumerate(by)]
