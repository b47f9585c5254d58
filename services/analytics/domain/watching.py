"""What a watcher has not been told yet: sums of all of it and the newest charges, in bounded memory."""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime

from services.analytics.domain.queries import Scope
from services.analytics.domain.usage import UsageEntry, UsageTotals

EVENTS_MAX = 100  # as the contract says

_SETTLEMENTS = frozenset({"commit", "release", "expire"})


@dataclass(frozen=True, slots=True)
class UsageNews:
    """What came since the news before."""

    observed_at: datetime
    events: Sequence[UsageEntry]
    """The newest charges, newest last."""
    totals: UsageTotals


class Matches:
    """Whether an entry is of a scope, as the statements of a query say it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        pattern = ".*".join(re.escape(part) for part in scope.model_pattern.split("*"))
        self._model = re.compile(pattern, re.DOTALL) if scope.model_pattern else None

    def __call__(self, entry: UsageEntry) -> bool:
        scope = self._scope
        return (
            entry.organisation_id == scope.organisation_id
            and scope.team_id in ("", entry.team_id)
            and scope.project_id in ("", entry.project_id)
            and scope.key_id in ("", entry.key_id)
            and scope.user_id in ("", entry.user_id)
            and (self._model is None or self._model.fullmatch(entry.model) is not None)
            and scope.dimensions.items() <= entry.dimensions.items()
        )


def totals_of(entry: UsageEntry) -> UsageTotals:
    """What one entry adds to sums; the statements of a query count alike."""
    settles = entry.kind in _SETTLEMENTS
    return UsageTotals(
        cost_nanos=entry.cost_nanos,
        attempts=int(settles),
        requests=int(settles and entry.attempt == 1),
        input_tokens=entry.input_tokens or 0,
        output_tokens=entry.output_tokens or 0,
        cache_read_tokens=entry.cache_read_tokens or 0,
        reasoning_tokens=entry.reasoning_tokens or 0,
        unconfirmed_nanos=entry.unconfirmed_nanos,
        overage_nanos=entry.overage_nanos,
        failed=int(settles and entry.outcome != "succeeded"),
    )


def added(one: UsageTotals, other: UsageTotals) -> UsageTotals:
    """The sums of both."""
    return UsageTotals(*(getattr(one, each.name) + getattr(other, each.name) for each in fields(UsageTotals)))


@dataclass(slots=True)
class Untold:
    """What a watcher has not been told yet."""

    totals: UsageTotals = field(default_factory=UsageTotals)
    events: deque[UsageEntry] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))
    entries: int = 0
    """How many entries are in it."""

    def add(self, entry: UsageEntry) -> None:
        """Takes an entry in; what was released charged nothing and is counted alone."""
        self.entries += 1
        self.totals = added(self.totals, totals_of(entry))
        if entry.kind != "release":
            self.events.append(entry)

    def tell(self, now: datetime) -> UsageNews:
        """Hands all of it over and begins anew."""
        news = UsageNews(now, tuple(self.events), self.totals)
        self.totals, self.entries = UsageTotals(), 0
        self.events.clear()
        return news
