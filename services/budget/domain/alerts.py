"""What admins are told, in words and amounts; each thing once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from services.budget.domain.budgets import Unit
from services.budget.domain.burn import NOTICEABLE_PERCENT, Burn, spent_of
from services.budget.domain.ids import AlertId, WebhookId
from services.budget.domain.limits import StoredBudget
from services.budget.domain.standing import Standing
from services.budget.domain.windows import EPOCH
from services.kernel.ids import BudgetId, OrganisationId, TeamId
from services.kernel.money import for_people


class AlertKind(IntEnum):
    """What an alert is about; the numbers are the contract's."""

    THRESHOLD = 1
    BURN_RATE = 2
    PROJECTED_EXHAUSTION = 3
    UNCONFIRMED = 4
    OVERAGE = 5
    SHADOW_REFUSAL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something an admin should know."""

    alert_id: AlertId
    kind: AlertKind
    organisation_id: OrganisationId
    team_id: TeamId | None
    budget_id: BudgetId | None
    percent: int = 0
    message: str
    occurred_at: datetime
    ledger_sequence: int
    delivered_at: datetime | None = None
    once: str
    """What it is about: of two with the same only the first is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where alerts are sent."""

    webhook_id: WebhookId
    organisation_id: OrganisationId | None
    """None: every organisation's."""
    url: str
    kinds: tuple[AlertKind, ...] = ()
    """Empty: all."""
    chain_heads: bool = False
    sealed_secret: bytes | None = None
    """What signs the deliveries, sealed. None: it is in the clear, from before secrets were sealed."""
    created_at: datetime

    def wants(self, alert: Alert) -> bool:
        """Whether an alert is sent here."""
        ours = self.organisation_id in (None, alert.organisation_id)
        return ours and (not self.kinds or alert.kind in self.kinds)


def secret_bound_to(webhook_id: str, organisation_id: str | None) -> tuple[str, ...]:
    """What the secret of a webhook is sealed for: in another row it does not open."""
    return ("webhook", str(webhook_id), str(organisation_id or ""))


@dataclass(frozen=True, slots=True)
class Noticed:
    """What the owner of a tree noted beside a ledger entry."""

    organisation_id: OrganisationId
    sequence: int
    kind: str
    facts: Mapping[str, Any]
    noticed_at: datetime


def amount(unit: Unit, value: int) -> str:
    """An amount in its unit, for people."""
    match unit:
        case Unit.MONEY:
            return for_people(value)
        case Unit.TOKENS:
            return f"{value:,} tokens"
        case Unit.REQUESTS:
            return f"{value:,} requests"
        case Unit.CONCURRENCY:
            return f"{value:,} open holds"


def alert_of(noticed: Noticed, budget: StoredBudget | None) -> Alert | None:
    """The alert about something noticed; None if it is of a kind nobody is told of."""
    facts = noticed.facts
    about = f"{noticed.organisation_id}:{noticed.sequence}"
    match noticed.kind:
        case "threshold" if budget is not None:
            kind, percent = AlertKind.THRESHOLD, int(facts["percent"])
            once = f"threshold:{budget.budget_id}:{facts['window_start_us']}:{percent}"
            spent = amount(budget.unit, facts["spent"] + facts["overage"])
            message = (
                f"{budget.display_name} has spent {spent} of {amount(budget.unit, facts['limit'])}:"
                f" {percent} % is reached."
            )
        case "unconfirmed" | "overage":
            kind, percent = AlertKind[noticed.kind.upper()], 0
            once = f"{noticed.kind}:{about}"
            request = f"request {facts['request_id']}, attempt {facts['attempt']}"
            charged = for_people(facts["charged"])
            message = f"{request} was charged {charged} that nobody has confirmed."
            if kind is AlertKind.OVERAGE:
                message = f"{request} cost {charged}, {for_people(facts['overage'])} more than was held."
        case "shadow_refusal" if budget is not None:
            kind, percent = AlertKind.SHADOW_REFUSAL, 0
            once = f"shadow:{budget.budget_id}:{noticed.noticed_at.astimezone(UTC):%Y-%m-%d}"
            message = f"{budget.display_name} would have refused a request today, were it hard."
        case _:
            return None
    return Alert(
        alert_id=AlertId.new(),
        kind=kind,
        organisation_id=noticed.organisation_id,
        team_id=None if budget is None else budget.team_id,
        budget_id=None if budget is None else budget.budget_id,
        percent=percent,
        message=message[:1].upper() + message[1:],
        occurred_at=noticed.noticed_at,
        ledger_sequence=noticed.sequence,
        once=once,
    )


def alerts_of_burn(budget: StoredBudget, standing: Standing, rate: Burn, now: datetime) -> list[Alert]:
    """What a budget's rate says: each once a window, an unusual rate once a day."""
    alerts = []
    per_hour = rate.per_hour
    if per_hour is None or per_hour * 100 < standing.limit * NOTICEABLE_PERCENT:
        return []
    pace = f"{budget.display_name} spends {amount(budget.unit, per_hour)} an hour"
    if rate.unusual and rate.usual_per_hour is not None:
        usual = amount(budget.unit, rate.usual_per_hour)
        once = f"burn:{budget.budget_id}:{now.astimezone(UTC):%Y-%m-%d}"
        alerts.append(
            _of_burn(budget, standing, AlertKind.BURN_RATE, f"{pace}; before it was {usual}.", once, now)
        )
    if rate.exhausted_at is not None and standing.left > 0 and spent_of(standing) > 0:
        start_us = (standing.window_start - EPOCH).total_seconds()
        once = f"projected:{budget.budget_id}:{start_us:.0f}"
        left = amount(budget.unit, standing.left)
        message = f"{pace}; the {left} that are left last until {rate.exhausted_at:%Y-%m-%d %H:%M} UTC."
        alerts.append(_of_burn(budget, standing, AlertKind.PROJECTED_EXHAUSTION, message, once, now))
    return alerts


def _of_burn(
    budget: StoredBudget, standing: Standing, kind: AlertKind, message: str, once: str, now: datetime
) -> Alert:
    return Alert(
        alert_id=AlertId.new(),
        kind=kind,
        organisation_id=budget.organisation_id,
        team_id=budget.team_id,
        budget_id=budget.budget_id,
        message=message,
        occurred_at=now,
        ledger_sequence=standing.sequence,
        once=once,
    )
