"""Tells admins what they should know, each thing once, and sends it to their webhooks until they take it.

What the owner of a tree noted (thresholds, overage, unconfirmed charges) lies in an outbox, written in the transaction
of the ledger entry; it is taken out in the transaction that makes the alert. Rates are looked at once a minute. Every
replica runs this; for each step one of them is first. While Postgres is away nothing is lost, only late.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from services.budget.domain.alerts import Alert, Webhook, alerts_of_burn
from services.budget.domain.budgets import Unit
from services.budget.domain.burn import Sample, burn
from services.budget.domain.limits import StoredBudget
from services.budget.domain.standing import Standing
from services.budget.domain.windows import PerRequest
from services.kernel.clock import Clock
from services.kernel.errors import StoreUnavailable

log = structlog.get_logger()

ALERT_S = 1.0
SAMPLE_S = 60.0
# How often a replica asks whether it is its turn: if the one that had it is gone, another takes it soon.
TURN_S = 5.0
CHAIN_HEADS_S = 3600.0
NOTICED_MAX = 500
DELIVERIES_MAX = 20
SAMPLES_KEPT = timedelta(hours=26)
# So long the same request of an admin gets the same answer; nobody repeats one for longer.
REQUESTS_KEPT = timedelta(days=30)
# A receiver that is down is tried again ever more rarely, for about a day in all.
RETRY_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
# A replica that dies while it sends leaves the delivery to the others after this.
CLAIM_S = 60.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something to send, and where to."""

    delivery_id: int
    alert_id: str | None
    body: str
    attempts: int
    """With this one."""
    url: str
    signing_secret: str | None = field(repr=False)
    """None: no key here opens it."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest entry of an organisation's ledger."""

    organisation_id: str
    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Rated:
    """A budget, how it stands, and what it had spent before."""

    budget: StoredBudget
    standing: Standing
    samples: Sequence[Sample]


class AlertStore(Protocol):
    """Where alerts are made and kept. Everything raises StoreUnavailable while Postgres does not answer."""

    async def alert_noticed(self, count: int, now: datetime) -> int:
        """Makes alerts, and deliveries, of what owners noted; how many notes were taken."""
        ...

    async def sample(self, every_s: float, now: datetime) -> list[Rated] | None:
        """The most used budgets of trees that changed since this was asked last; what they have spent is kept.

        None if this, or another replica, has asked within `every_s` seconds.
        """
        ...

    async def alert(self, alerts: Sequence[Alert], now: datetime) -> None:
        """Makes alerts, and deliveries, of those that were not made before."""
        ...

    async def claim_deliveries(self, count: int, lease_s: float, now: datetime) -> list[Delivery]:
        """What is due; nobody else takes it for `lease_s` seconds."""
        ...

    async def delivered(self, delivery: Delivery, now: datetime) -> None:
        """It was taken."""
        ...

    async def postponed(self, delivery: Delivery, again_at: datetime | None) -> None:
        """It was not taken: again then, or (None) never."""
        ...

    async def export_chain_heads(self, every_s: float, now: datetime) -> list[ChainHead]:
        """Chain heads if they are due, with deliveries to who wants them; else nothing."""
        ...

    async def seal_secrets(self) -> None:
        """Seals what signs deliveries by the key of now, where it is in the clear or sealed by an older one."""
        ...

    async def trim_samples(self, before: datetime) -> None:
        """Forgets old samples."""
        ...

    async def trim_requests(self, before: datetime) -> None:
        """Forgets answers to old requests of admins, some at a time."""
        ...


class Sender(Protocol):
    """Sends a signed body to an address."""

    async def send(self, url: str, body: bytes, headers: dict[str, str]) -> str | None:
        """None if it was taken; else why not, without anything secret."""
        ...


class Alerting:
    """Runs in the background of every replica."""

    def __init__(self, store: AlertStore, sender: Sender, clock: Clock) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._asked_s: float | None = None

    async def run(self) -> None:
        """Alerts until it is cancelled."""
        sealed = False
        while True:
            try:
                if not sealed:
                    await self._store.seal_secrets()
                    sealed = True
                await self.step()
            except StoreUnavailable:
                log.warning("alerting_waits", store="postgres")
            await asyncio.sleep(ALERT_S)

    async def step(self) -> None:
        """Everything that is due now."""
        now = self._clock.now()
        while await self._store.alert_noticed(NOTICED_MAX, now) == NOTICED_MAX:
            continue
        at_s = self._clock.monotonic_s()
        if self._asked_s is None or at_s - self._asked_s >= TURN_S:
            self._asked_s = at_s
            await self._rate(now)
        for head in await self._store.export_chain_heads(CHAIN_HEADS_S, now):
            log.info(
                "chain_head",
                organisation_id=head.organisation_id,
                sequence=head.sequence,
                hash=head.hash.hex(),
            )
        await self._deliver()

    async def _rate(self, now: datetime) -> None:
        budgets = await self._store.sample(SAMPLE_S, now)
        if budgets is None:
            return
        alerts: list[Alert] = []
        for rated in budgets:
            window = rated.budget.window.window()
            if rated.budget.unit is Unit.CONCURRENCY or isinstance(window, PerRequest):
                continue
            rate = burn(window, rated.standing, rated.samples, now)
            alerts += alerts_of_burn(rated.budget, rated.standing, rate, now)
        if alerts:
            await self._store.alert(alerts, now)
        await self._store.trim_samples(now - SAMPLES_KEPT)
        await self._store.trim_requests(now - REQUESTS_KEPT)

    async def _deliver(self) -> None:
        due = await self._store.claim_deliveries(DELIVERIES_MAX, CLAIM_S, self._clock.now())
        await asyncio.gather(*(self._send(delivery) for delivery in due))

    async def _send(self, delivery: Delivery) -> None:
        problem = await self._try(delivery)
        if problem is None:
            await self._store.delivered(delivery, self._clock.now())
            return
        log.warning("webhook_failed", delivery=delivery.delivery_id, attempt=delivery.attempts, why=problem)
        again = None
        if delivery.attempts <= len(RETRY_S):
            again = self._clock.now() + timedelta(seconds=RETRY_S[delivery.attempts - 1])
        await self._store.postponed(delivery, again)

    async def _try(self, delivery: Delivery) -> str | None:
        if delivery.signing_secret is None:
            return "no key here opens its signing secret"
        body = delivery.body.encode()
        headers = {
            "content-type": "application/json",
            "turnpike-delivery": str(delivery.delivery_id),
            "turnpike-signature": signature(
                delivery.signing_secret, int(self._clock.now().timestamp()), body
            ),
        }
        return await self._sender.send(delivery.url, body, headers)


def signature(secret: str, at_s: int, body: bytes) -> str:
    """What a receiver checks: HMAC-SHA256, keyed by the webhook's secret, over the time, a dot, and the body."""
    signed = hmac.new(secret.encode(), b"%d.%b" % (at_s, body), hashlib.sha256).hexdigest()
    return f"t={at_s},v1={signed}"


def body_of(alert: Alert) -> str:
    """An alert as a webhook gets it."""
    return json.dumps(
        {
            "type": "alert",
            "alert_id": alert.alert_id,
            "kind": alert.kind.name,
            "organisation_id": alert.organisation_id,
            "budget_id": alert.budget_id,
            "percent": alert.percent,
            "message": alert.message,
            "occurred_at": alert.occurred_at.isoformat(),
            "ledger_sequence": alert.ledger_sequence,
        }
    )


def body_of_heads(webhook: Webhook, heads: Sequence[ChainHead], now: datetime) -> str | None:
    """The chain heads that a webhook may see, as it gets them. None: there is none."""
    shown = [
        {"organisation_id": head.organisation_id, "sequence": head.sequence, "hash": head.hash.hex()}
        for head in heads
        if webhook.organisation_id in (None, head.organisation_id)
    ]
    if not shown:
        return None
    return json.dumps({"type": "chain_heads", "observed_at": now.isoformat(), "heads": shown})
