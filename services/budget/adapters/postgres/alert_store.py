"""Alerts in Postgres: made in the transaction that takes the note they are made of, delivered from a table."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.budget.adapters.postgres.config_store import PostgresConfigStore
from services.budget.adapters.postgres.rows import from_row, to_row
from services.budget.adapters.postgres.standings import PostgresStandings
from services.budget.adapters.postgres.statements import statements
from services.budget.domain.alerts import Alert, Noticed, Webhook, alert_of, secret_bound_to
from services.budget.domain.burn import Sample, spent_of
from services.budget.domain.limits import StoredBudget
from services.budget.domain.moments import to_us
from services.budget.ports import Connection
from services.budget.use_cases.alerting import ChainHead, Delivery, Rated, body_of, body_of_heads
from services.chassis.postgres import Database
from services.chassis.sealing import CannotOpen, KeyRing
from services.kernel.ids import OrganisationId

log = structlog.get_logger()

# How far back a rate looks.
SAMPLES_SINCE = timedelta(hours=25)
# Budgets of one organisation whose rates are followed: those that are used most. More, once a minute, would be felt by
# holds, and a budget that is hardly used says nothing by its rate.
BUDGETS_SAMPLED_MAX = 500


class PostgresAlertStore:
    """Where alerts are made and kept."""

    def __init__(self, database: Database, keys: KeyRing | None) -> None:
        """`keys` seal what signs deliveries. None: what is in the clear signs as it is, what is sealed stays unsent."""
        self._database = database
        self._keys = keys
        self._config = PostgresConfigStore()
        self._seen: dict[str, int] = {}

    async def alert_noticed(self, count: int, now: datetime) -> int:
        async with self._database.transaction() as connection:
            if not await connection.fetchval(statements()["lock_alerting"]):
                return 0
            rows = await connection.fetch(statements()["take_noticed"], count)
            alerts = []
            for row in sorted(rows, key=lambda row: row["outbox_id"]):
                facts = json.loads(row["facts"])
                noticed = Noticed(
                    OrganisationId(row["organisation_id"]),
                    row["sequence"],
                    row["kind"],
                    facts,
                    row["created_at"],
                )
                budget = None
                if "budget_id" in facts:
                    found = await connection.fetchrow(statements()["find_budget"], facts["budget_id"])
                    budget = None if found is None else from_row(found, StoredBudget)
                try:
                    alert = alert_of(noticed, budget)
                except (KeyError, TypeError, ValueError) as unreadable:
                    # A note of another version must not keep every later one waiting.
                    log.error("note_unreadable", kind=noticed.kind, facts=facts, why=repr(unreadable))
                    continue
                if alert is not None:
                    alerts.append(alert)
            await _make(connection, alerts, now)
            return len(rows)

    async def alert(self, alerts: Sequence[Alert], now: datetime) -> None:
        async with self._database.transaction() as connection:
            await _make(connection, alerts, now)

    async def sample(self, every_s: float, now: datetime) -> list[Rated] | None:
        if await self._database.fetchrow(statements()["claim_sampling"], now, every_s) is None:
            return None
        rated: list[Rated] = []
        marks = await self._database.fetch(statements()["tree_marks"])
        for mark in marks:
            organisation_id, sequence = mark["organisation_id"], mark["sequence"]
            if self._seen.get(organisation_id) == sequence:
                continue
            async with self._database.transaction() as connection:
                rated += await self._sample_tree(connection, organisation_id, now)
            self._seen[organisation_id] = sequence
        return rated

    async def _sample_tree(self, connection: Connection, organisation_id: str, now: datetime) -> list[Rated]:
        used = await connection.fetch(
            statements()["budgets_to_sample"], organisation_id, to_us(now), BUDGETS_SAMPLED_MAX
        )
        names = [row["budget_id"] for row in used]
        rows = await connection.fetch(statements()["config_budgets"], organisation_id, names)
        budgets = [from_row(row, StoredBudget) for row in rows]
        in_force = await self._config.in_force(connection, budgets)
        standings = await PostgresStandings(connection).of(
            organisation_id, [in_force[budget.budget_id] for budget in budgets], now
        )
        samples = await samples_of(connection, budgets, now - SAMPLES_SINCE)
        await connection.execute(
            statements()["insert_samples"],
            now,
            [budget.budget_id for budget in budgets],
            [standing.window_start for standing in standings],
            [spent_of(standing) for standing in standings],
        )
        return [
            Rated(budget, standing, samples[budget.budget_id])
            for budget, standing in zip(budgets, standings, strict=True)
        ]

    async def trim_samples(self, before: datetime) -> None:
        await self._database.execute(statements()["trim_samples"], before)

    async def trim_requests(self, before: datetime) -> None:
        await self._database.execute(statements()["trim_requests"], before)

    async def claim_deliveries(self, count: int, lease_s: float, now: datetime) -> list[Delivery]:
        rows = await self._database.fetch(statements()["claim_deliveries"], now, count, lease_s)
        return [
            Delivery(
                delivery_id=row["delivery_id"],
                alert_id=row["alert_id"],
                body=row["body"],
                attempts=row["attempts"],
                url=row["url"],
                signing_secret=self._secret_of(row),
            )
            for row in rows
        ]

    def _secret_of(self, row: Any) -> str | None:
        """What signs a webhook's deliveries; None if no key here opens it."""
        clear: str | None = row["signing_secret"]
        if clear is not None or self._keys is None:
            return clear
        try:
            return self._keys.open(
                row["sealed_secret"], secret_bound_to(row["webhook_id"], row["organisation_id"])
            )
        except CannotOpen as error:
            log.error("webhook_secret_cannot_be_opened", webhook_id=row["webhook_id"], why=str(error))
            return None

    async def seal_secrets(self) -> None:
        async with self._database.transaction() as connection:
            rows = await connection.fetch(statements()["lock_webhook_secrets"])
            if self._keys is None:
                if rows:
                    log.warning("webhooks_without_a_key", setting="TURNPIKE_WEBHOOK_KEY", webhooks=len(rows))
                return
            for row in rows:
                sealed: bytes | None = row["sealed_secret"]
                if sealed is not None and self._keys.is_current(sealed):
                    continue
                secret = self._secret_of(row)
                if secret is not None:
                    bound_to = secret_bound_to(row["webhook_id"], row["organisation_id"])
                    await connection.execute(
                        statements()["seal_webhook_secret"],
                        row["webhook_id"],
                        self._keys.seal(secret, bound_to),
                    )

    async def delivered(self, delivery: Delivery, now: datetime) -> None:
        async with self._database.transaction() as connection:
            if delivery.alert_id is not None:
                await connection.execute(statements()["mark_delivered"], delivery.alert_id, now)
            await connection.execute(statements()["finish_delivery"], delivery.delivery_id)

    async def postponed(self, delivery: Delivery, again_at: datetime | None) -> None:
        if again_at is None:
            await self._database.execute(statements()["finish_delivery"], delivery.delivery_id)
        else:
            await self._database.execute(statements()["postpone_delivery"], delivery.delivery_id, again_at)

    async def export_chain_heads(self, every_s: float, now: datetime) -> list[ChainHead]:
        async with self._database.transaction() as connection:
            if await connection.fetchrow(statements()["claim_chain_head_export"], every_s) is None:
                return []
            rows = await connection.fetch(statements()["ledger_heads"])
            heads = [ChainHead(row["organisation_id"], row["sequence"], row["head"]) for row in rows]
            for row in await connection.fetch(statements()["select_chain_head_webhooks"]):
                webhook = from_row(row, Webhook)
                body = body_of_heads(webhook, heads, now)
                if body is not None:
                    await connection.execute(
                        statements()["insert_delivery"], str(webhook.webhook_id), None, body, now
                    )
            return heads


async def _make(connection: Connection, alerts: Sequence[Alert], now: datetime) -> None:
    webhooks: dict[str, list[Webhook]] = {}
    for alert in alerts:
        if await connection.fetchval(statements()["insert_alert"], *to_row(alert)) is None:
            continue
        organisation_id = str(alert.organisation_id)
        if organisation_id not in webhooks:
            rows = await connection.fetch(statements()["select_webhooks_of"], organisation_id)
            webhooks[organisation_id] = [from_row(row, Webhook) for row in rows]
        for webhook in webhooks[organisation_id]:
            if webhook.wants(alert):
                await connection.execute(
                    statements()["insert_delivery"],
                    str(webhook.webhook_id),
                    str(alert.alert_id),
                    body_of(alert),
                    now,
                )


async def samples_of(
    connection: Connection, budgets: Sequence[StoredBudget], since: datetime
) -> dict[str, list[Sample]]:
    """What budgets had spent since a moment, oldest first; every budget has an entry."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    rows: Sequence[Any] = await connection.fetch(
        statements()["select_samples"], [str(budget.budget_id) for budget in budgets], since
    )
    for row in rows:
        samples[row["budget_id"]].append(Sample(row["at"], row["window_start"], row["spent"]))
    return samples
