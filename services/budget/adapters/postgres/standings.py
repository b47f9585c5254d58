"""How budgets stand, read from the counters: exact as of the last commit, on any replica."""

from collections.abc import Sequence
from datetime import datetime

from services.budget.adapters.postgres.statements import statements
from services.budget.domain.budgets import Budget
from services.budget.domain.moments import NEVER_US, from_us, to_us
from services.budget.domain.standing import Standing
from services.budget.domain.windows import Rolling, rolling_since
from services.budget.ports import Connection


class PostgresStandings:
    """Reads on the connection it is given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def of(self, organisation_id: str, budgets: Sequence[Budget], now: datetime) -> list[Standing]:
        """One for each budget, in order: of its window at `now`; of a rolling one the sum of its buckets."""
        spans = [budget.span_at(now) for budget in budgets]
        since = [
            rolling_since(budget.window, now) if isinstance(budget.window, Rolling) else span.start
            for budget, span in zip(budgets, spans, strict=True)
        ]
        rows = await self._connection.fetch(
            statements()["standing_counters"],
            organisation_id,
            [budget.budget_id for budget in budgets],
            [to_us(moment) for moment in since],
            [to_us(span.start) for span in spans],
        )
        sequence = await self._connection.fetchval(
            "SELECT coalesce(max(sequence), 0) FROM trees WHERE organisation_id = $1", organisation_id
        )
        found: dict[str, list[dict[str, int]]] = {}
        for row in rows:
            found.setdefault(row["budget_id"], []).append(dict(row))
        standings = []
        for budget, span, start in zip(budgets, spans, since, strict=True):
            windows = found.get(budget.budget_id, [])
            standings.append(
                Standing(
                    budget_id=budget.budget_id,
                    window_start=from_us(min((row["start_us"] for row in windows), default=to_us(start))),
                    window_end=None if span.end is None or to_us(span.end) == NEVER_US else span.end,
                    limit=budget.limit_at(now),
                    spent=sum(row["spent"] for row in windows),
                    held=sum(row["held"] for row in windows),
                    overage=sum(row["overage"] for row in windows),
                    unconfirmed=sum(row["unconfirmed"] for row in windows),
                    open_holds=sum(row["open"] for row in windows),
                    sequence=max((row["sequence"] for row in windows), default=sequence),
                )
            )
        return standings
