"""Alerts: once of each thing, signed, until the receiver takes them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from services.budget.adapters.postgres.alert_store import PostgresAlertStore
from services.budget.adapters.postgres.statements import FOLDER
from services.budget.adapters.webhook_sender import WebhookSender
from services.budget.use_cases.alerting import Alerting, signature
from services.chassis.postgres import open_database
from services.chassis.sealing import KeyRing
from services.chassis.settings import Secret
from services.chassis.status import RemoteError
from services.kernel.clock import ManualClock
from tests.support.budget import Budgets, attempt, commit, hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from tests.support.receiver import Receiver, receiving
from turnpike.budget.v1 import budget_admin_pb2 as pb

DOLLAR = 1_000_000_000


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as served:
        yield served


async def webhook_of(api: Api, tenant: Tenant, receiver: Receiver) -> str:
    webhook = pb.Webhook(
        organisation_id=tenant.organisation.organisation_id, url=f"http://{receiver.host}/hook"
    )
    request = pb.CreateWebhookRequest(request_id=request_id(), webhook=webhook)
    made = await api.CreateWebhook(request)
    assert (await api.CreateWebhook(request)).signing_secret == ""
    secret: str = made.signing_secret
    return secret


async def spend(budgets: Budgets, tenant: Tenant, held: int, cost: int) -> None:
    router = await budgets.router()
    key = attempt(tenant)
    await router.Hold(hold(tenant, held, key))
    await router.Commit(commit(key, cost))


async def test_thresholds_and_overage_are_sent_signed_and_once(postgres_dsn: str, receiver: Receiver) -> None:
    receiver.refusing = 1
    async with serving_budget(postgres_dsn, webhook_trusted_hosts=receiver.host) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        secret = await webhook_of(api, tenant, receiver)
        await spend(budgets, tenant, DOLLAR * 6 // 10, DOLLAR * 6 // 10)  # 50 % of four budgets
        await spend(budgets, tenant, DOLLAR * 1 // 10, DOLLAR * 3 // 10)  # 80 % of them, and an overage
        deliveries = await receiver.until(10)  # four, four, one, and one a second time
        assert receiver.refusing == 0
        bodies = [json.loads(delivery.body) for delivery in deliveries]
        ids = [body["alert_id"] for body in bodies]
        assert len(set(ids)) == 9
        kinds = {(body["kind"], body["percent"]) for body in bodies}
        assert kinds == {("THRESHOLD", 50), ("THRESHOLD", 80), ("OVERAGE", 0)}
        for delivery in deliveries:
            given = delivery.headers["turnpike-signature"]
            at_s = int(given.removeprefix("t=").partition(",")[0])
            assert given == signature(secret, at_s, delivery.body)
        overage = next(body for body in bodies if body["kind"] == "OVERAGE")
        assert "cost $0.30, $0.20 more than was held" in overage["message"]
        async with asyncio.timeout(20):
            while True:
                alerts = (await api.ListAlerts(pb.ListAlertsRequest())).alerts
                if all(alert.HasField("delivered_at") for alert in alerts):
                    break
                await asyncio.sleep(0.1)  # the receiver answered; the mark follows within the same step
        assert len(alerts) == 9
        assert len(receiver.received) == 10


async def test_signing_secrets_lie_sealed_and_follow_the_key(postgres_dsn: str, receiver: Receiver) -> None:
    """In the clear, by the first key, by the next, by none that is here."""
    first, second, third = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
    both = Secret(f"{second},{first}")
    host = receiver.host
    async with serving_budget(postgres_dsn, webhook_trusted_hosts=host, webhook_key=Secret(first)) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        secret = await webhook_of(api, tenant, receiver)
    connection = await asyncpg.connect(postgres_dsn)
    try:
        row = await connection.fetchrow("SELECT signing_secret, sealed_secret FROM budget.webhooks")
        assert row is not None
        assert row["signing_secret"] is None
        assert secret.encode() not in row["sealed_secret"]
        trail = await connection.fetchval(
            "SELECT count(*) FROM budget.audit_records WHERE after::text LIKE '%sealed%' OR after::text LIKE '%tpw_%'"
        )
        assert trail == 0
        for settings, nanos in ((both, 6), (Secret(second), 3)):
            async with serving_budget(
                postgres_dsn, webhook_trusted_hosts=host, webhook_key=settings
            ) as budgets:
                await spend(budgets, tenant, DOLLAR * nanos // 10, DOLLAR * nanos // 10)
                deliveries = await receiver.until(4 if settings is both else 8)
                given = deliveries[-1].headers["turnpike-signature"]
                at_s = int(given.removeprefix("t=").partition(",")[0])
                assert given == signature(secret, at_s, deliveries[-1].body)
        await connection.execute(
            "UPDATE budget.webhooks SET signing_secret = $1, sealed_secret = NULL", secret
        )
        async with serving_budget(postgres_dsn, webhook_key=Secret(second)), asyncio.timeout(20):
            while await connection.fetchval("SELECT count(signing_secret) FROM budget.webhooks"):
                await asyncio.sleep(0.1)
        async with open_database(postgres_dsn, schema="budget", folder=FOLDER) as database:
            await connection.execute(
                "INSERT INTO budget.deliveries (webhook_id, body, due_at)"
                " SELECT webhook_id, '{}', now() FROM budget.webhooks"
            )
            for key, expected in ((second, secret), (third, None), (None, None)):
                keys = None if key is None else KeyRing.parse(key)
                store = PostgresAlertStore(database, keys)
                await store.seal_secrets()
                await connection.execute("UPDATE budget.deliveries SET due_at = now() - interval '1 s'")
                (delivery,) = await store.claim_deliveries(1, 60.0, datetime.now(UTC))
                assert delivery.signing_secret == expected
                assert secret not in repr(delivery)
    finally:
        await connection.close()


async def test_without_a_key_no_webhook_is_added(postgres_dsn: str, receiver: Receiver) -> None:
    async with serving_budget(postgres_dsn, webhook_trusted_hosts=receiver.host, webhook_key=None) as budgets:
        api = await budgets.operator()
        with pytest.raises(RemoteError, match="no key to seal") as refused:
            await api.CreateWebhook(
                pb.CreateWebhookRequest(
                    request_id=request_id(), webhook=pb.Webhook(url=f"http://{receiver.host}/hook")
                )
            )
        assert refused.value.reason == "PRECONDITION_FAILED"


async def test_a_note_that_nobody_can_read_keeps_no_other_waiting(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        connection = await asyncpg.connect(postgres_dsn)
        try:
            facts = {"budget_id": tenant.budgets[0].budget_id}
            await connection.execute(
                "INSERT INTO budget.outbox (tree_no, sequence, kind, facts)"
                " SELECT tree_no, 1, 'threshold', $1 FROM budget.trees",
                json.dumps(facts),
            )
        finally:
            await connection.close()
        await spend(budgets, tenant, DOLLAR * 6 // 10, DOLLAR * 6 // 10)
        async with asyncio.timeout(20):
            while len((await api.ListAlerts(pb.ListAlertsRequest())).alerts) < 4:
                await asyncio.sleep(0.1)


async def test_chain_heads_leave_once_an_hour(postgres_dsn: str, receiver: Receiver) -> None:
    async with serving_budget(postgres_dsn, webhook_trusted_hosts=receiver.host) as budgets:
        api = await budgets.operator()
        tenant, other = await make_tenant(api, "Acme"), await make_tenant(api, "Other")
        webhook = pb.Webhook(
            organisation_id=tenant.organisation.organisation_id,
            url=f"http://{receiver.host}/hook",
            chain_heads=True,
        )
        await api.CreateWebhook(pb.CreateWebhookRequest(request_id=request_id(), webhook=webhook))
        await spend(budgets, tenant, DOLLAR // 10, DOLLAR // 10)
        await spend(budgets, other, DOLLAR // 10, DOLLAR // 10)
        connection = await asyncpg.connect(postgres_dsn)
        try:
            await connection.execute(
                "UPDATE budget.chain_head_exports SET exported_at = now() - interval '61 min'"
            )
        finally:
            await connection.close()
        (delivery,) = await receiver.until(1)
        body = json.loads(delivery.body)
        heads = {
            head.organisation_id: head
            for head in (await api.ListChainHeads(pb.ListChainHeadsRequest())).heads
        }
        ours = heads[tenant.organisation.organisation_id]
        assert body["type"] == "chain_heads"
        assert body["heads"] == [
            {"organisation_id": ours.organisation_id, "sequence": ours.sequence, "hash": ours.hash.hex()}
        ]


async def test_a_budget_that_will_not_last_is_said_once(postgres_dsn: str, receiver: Receiver) -> None:
    """Rates by samples, with time as a parameter: the worker's own steps over the real store."""
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await spend(budgets, tenant, DOLLAR // 4, DOLLAR // 4)
    async with (
        open_database(postgres_dsn, schema="budget", folder=FOLDER) as database,
        WebhookSender() as sender,
    ):
        clock = ManualClock(datetime.now(UTC))
        alerting = Alerting(PostgresAlertStore(database, None), sender, clock)
        for _ in range(3):
            clock.advance(600)
            await alerting.step()
            again = Alerting(PostgresAlertStore(database, None), sender, clock)
            await again.step()
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        alerts = (await api.ListAlerts(pb.ListAlertsRequest())).alerts
        projected = [alert for alert in alerts if alert.kind == pb.ALERT_KIND_PROJECTED_EXHAUSTION]
        assert {alert.budget_id for alert in projected} == {budget.budget_id for budget in tenant.budgets}
        assert len(projected) == len(tenant.budgets)
        assert "last until" in projected[0].message
        status = (
            await api.GetBudgetStatus(pb.GetBudgetStatusRequest(budget_id=tenant.budgets[0].budget_id))
        ).status
        assert status.spent == DOLLAR // 4


async def test_answers_to_requests_of_a_month_ago_are_forgotten(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        await make_tenant(await budgets.operator(), "Acme")
    async with (
        open_database(postgres_dsn, schema="budget", folder=FOLDER) as database,
        WebhookSender() as sender,
    ):
        clock = ManualClock(datetime.now(UTC))
        kept = "SELECT count(*) FROM admin_requests"
        for days, left in ((29, True), (2, False)):
            clock.advance(days * 86_400)
            await Alerting(PostgresAlertStore(database, None), sender, clock).step()
            assert bool(await database.fetchval(kept)) == left


@pytest.mark.parametrize(
    "url",
    [
        "http://alerts.example.com/hook",
        "https://user:password@alerts.example.com/",
        "https:///hook",
        "ftp://alerts.example.com/",
        "https://alerts.example.com:99999/",
        "https://alerts.example.com/#there",
        "javascript:alert(1)",
    ],
)
async def test_strange_addresses_are_refused_at_once(postgres_dsn: str, url: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        with pytest.raises(RemoteError) as refused:
            await api.CreateWebhook(
                pb.CreateWebhookRequest(request_id=request_id(), webhook=pb.Webhook(url=url))
            )
        assert refused.value.reason == "INVALID_REQUEST"
        assert {violation.field for violation in refused.value.violations} == {"webhook.url"}


async def test_nothing_inside_our_network_is_reached(receiver: Receiver) -> None:
    port = receiver.host.partition(":")[2]
    async with WebhookSender() as sender:
        for host in ("127.0.0.1", "localhost", "[::1]", "0x7f.1", "[::ffff:127.0.0.1]", "169.254.169.254"):
            for scheme in ("http", "https"):
                assert await sender.send(f"{scheme}://{host}:{port}/hook", b"{}", {}) is not None
    assert receiver.received == []


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with WebhookSender(frozenset({receiver.host})) as sender:
        assert await sender.send(f"http://{receiver.host}/away", b"{}", {}) == "status 307"
        assert await sender.send(f"http://{receiver.host}/hook", b"{}", {}) is None
    assert len(receiver.received) == 1
