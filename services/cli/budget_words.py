"""Budgets in words, and words as windows."""

from typing import Any

import click

from services.cli.admin import Column, duration_of, figure, when
from services.cli.words import percent
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2

PERIODS = {
    name.removeprefix("CALENDAR_PERIOD_").lower(): value
    for name, value in entities_pb2.CalendarPeriod.items()
    if value
}


async def only_organisation(api: Any) -> str:
    """The one organisation that the caller sees; a UsageError if there are several."""
    found = await api.pages("ListOrganisations", pb.ListOrganisationsRequest(), "organisations", 2)
    if len(found) != 1:
        raise click.UsageError("say which organisation: --organisation org_…")
    return str(found[0].organisation_id)


def subject_of(budget: Any) -> str:
    """What a budget is attached to."""
    field = budget.subject.WhichOneof("subject") or ""
    return str(getattr(budget.subject, field, ""))


def window_of(budget: Any) -> str:
    """When a budget begins anew."""
    kind = budget.window.WhichOneof("kind") or "lifetime"
    if kind == "calendar":
        calendar = budget.window.calendar
        period = entities_pb2.CalendarPeriod.Name(calendar.period).removeprefix("CALENDAR_PERIOD_").lower()
        return f"{period} ({calendar.time_zone})"
    if kind in ("fixed", "rolling"):
        length = getattr(budget.window, kind).length.ToTimedelta()
        return f"{'every' if kind == 'fixed' else 'last'} {length}"
    return str(kind)


def window_from(given: dict[str, Any]) -> entities_pb2.Window:
    """The window that options describe."""
    window = entities_pb2.Window()
    if given["every"]:
        window.fixed.length.FromTimedelta(duration_of(given["every"]))
    elif given["rolling"]:
        window.rolling.length.FromTimedelta(duration_of(given["rolling"]))
    elif given["per"] in PERIODS:
        window.calendar.period = PERIODS[given["per"]]
        window.calendar.time_zone = given["time_zone"]
        window.calendar.start_day = given["start_day"]
    elif given["per"] == "request":
        window.request.SetInParent()
    return window


STATUS_COLUMNS: list[Column] = [
    ("budget", lambda s: s.budget.display_name),
    (">limit", lambda s: figure(s.budget, s.limit_in_force)),
    (">spent", lambda s: figure(s.budget, s.spent + s.overage)),
    (">held", lambda s: figure(s.budget, s.held)),
    (">left", lambda s: figure(s.budget, s.left)),
    (">used", lambda s: percent(s.spent + s.overage, s.limit_in_force)),
    (">an hour", lambda s: figure(s.budget, s.burn_per_hour) if s.HasField("burn_per_hour") else ""),
    ("resets", lambda s: when(s, "resets_at")),
    ("used up", lambda s: when(s, "projected_exhaustion_at")),
    ("id", lambda s: s.budget.budget_id),
]
