"""The directory: what routers follow, and that silence means not to trust it."""

import asyncio
import hashlib
import time
from typing import Any

import asyncpg
import pytest

from services.kernel.errors import TurnpikeError
from tests.support.budget_admin import Admin, Api, Tenant, make_tenant, request_id, serving_admin
from tests.support.severable import severable
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_pb2
from turnpike.budget.v1.entities_pb2 import ENTITY_STATE_SUSPENDED, Team

# A poll that was answered just before counts as fresh for 0.9 s; the rest is this machine's slowness.
SILENT_AFTER_S = 2.0


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def next_change(messages: Any) -> Any:
    return await anext(message async for message in messages if not message.HasField("heartbeat"))


def watching(router: Api, after: int = 0) -> Any:
    return router.watch("WatchDirectory", budget_pb2.WatchDirectoryRequest(after_revision=after))


async def suspend_team(api: Api, tenant: Tenant) -> None:
    update = pb.UpdateTeamRequest(
        request_id=request_id(), team=Team(team_id=tenant.team.team_id, state=ENTITY_STATE_SUSPENDED)
    )
    update.update_mask.paths.append("state")
    await api.UpdateTeam(update)


async def test_a_rotated_key_has_two_secrets_for_a_while(admin: Admin) -> None:
    api, router = await admin.operator(), await admin.router()
    tenant = await make_tenant(api, "Acme")
    async with watching(router) as messages:
        await anext(messages)
        second = await api.RotateKey(
            pb.RotateKeyRequest(request_id=request_id(), key_id=tenant.key.key_id, grace_seconds=3600)
        )
        change = (await next_change(messages)).change
        by_hash = {key.secret_hash: key for key in change.entries.keys}
        assert set(by_hash) == {digest(tenant.key_secret), digest(second.secret)}
        assert by_hash[digest(tenant.key_secret)].HasField("expires_at")
        assert not by_hash[digest(second.secret)].HasField("expires_at")
        third = await api.RotateKey(pb.RotateKeyRequest(request_id=request_id(), key_id=tenant.key.key_id))
        change = (await next_change(messages)).change
        assert [key.secret_hash for key in change.entries.keys] == [digest(third.secret)]
        assert set(change.removed_key_hashes) == {digest(tenant.key_secret), digest(second.secret)}


async def test_what_is_above_a_key_disables_it(admin: Admin) -> None:
    api, router = await admin.operator(), await admin.router()
    tenant, other = await make_tenant(api, "Acme"), await make_tenant(api, "Other")
    async with watching(router) as messages:
        await anext(messages)
        await suspend_team(api, tenant)
        change = (await next_change(messages)).change
        assert [team.team_id for team in change.entries.teams] == [tenant.team.team_id]
        assert [(key.principal.key_id, key.disabled) for key in change.entries.keys] == [
            (tenant.key.key_id, True)
        ]
    known = await router.Authenticate(budget_pb2.AuthenticateRequest(secret_hash=digest(other.key_secret)))
    assert not known.key.disabled


async def test_a_reader_comes_back_where_it_was(admin: Admin) -> None:
    api, router = await admin.operator(), await admin.router()
    tenant = await make_tenant(api, "Acme")
    async with watching(router) as messages:
        revision = (await anext(messages)).revision
    await suspend_team(api, tenant)
    async with watching(router, revision) as messages:
        first = await anext(messages)
        assert first.HasField("change")
        assert first.revision > revision
    for unknown in (revision + 1000, 10**15):
        async with watching(router, unknown) as messages:
            assert (await anext(messages)).snapshot.complete


async def test_every_replica_hears_of_an_end_within_a_second(postgres_dsn: str) -> None:
    async with serving_admin(postgres_dsn) as here, serving_admin(postgres_dsn) as there:
        api, router = await here.operator(), await there.router()
        tenant = await make_tenant(api, "Acme")
        async with watching(router) as messages:
            snapshot = await anext(messages)
            assert not snapshot.snapshot.entries.keys[0].disabled
            await api.RevokeKey(pb.RevokeKeyRequest(request_id=request_id(), key_id=tenant.key.key_id))
            revoked = time.monotonic()
            change = (await next_change(messages)).change
            assert time.monotonic() - revoked < 1.0
            assert [key.disabled for key in change.entries.keys] == [True]


async def test_a_lost_notification_is_healed_by_looking(postgres_dsn: str) -> None:
    """The listening connection ends and nobody notices: the change is heard of all the same."""
    async with serving_admin(postgres_dsn) as admin:
        api, router = await admin.operator(), await admin.router()
        tenant = await make_tenant(api, "Acme")
        connection = await asyncpg.connect(postgres_dsn)
        try:
            async with watching(router) as messages:
                await anext(messages)
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
                )
                await api.RevokeKey(pb.RevokeKeyRequest(request_id=request_id(), key_id=tenant.key.key_id))
                change = (await next_change(messages)).change
                assert [key.disabled for key in change.entries.keys] == [True]
        finally:
            await connection.close()


async def test_heartbeats_come_within_a_second_stop_with_the_store_and_come_back(postgres_dsn: str) -> None:
    async with severable(postgres_dsn) as (way, dsn), serving_admin(dsn) as admin:
        api, router = await admin.operator(), await admin.router()
        tenant = await make_tenant(api, "Acme")
        async with watching(router) as messages:
            await anext(messages)
            before = time.monotonic()
            for _ in range(3):
                assert (await anext(messages)).HasField("heartbeat")
            assert time.monotonic() - before < 3.0
            way.cut()
            last = away_since = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SILENT_AFTER_S + 1.0):
                    async for message in messages:
                        assert message.HasField("heartbeat")
                        last = time.monotonic()
            assert last - away_since < SILENT_AFTER_S
        way.mend()
        async with asyncio.timeout(20):
            while True:
                try:
                    await suspend_team(api, tenant)
                    break
                except TurnpikeError as away:
                    assert away.reason == "STORE_UNAVAILABLE"
        async with watching(router) as messages:
            snapshot = await anext(messages)
            assert [key.disabled for key in snapshot.snapshot.entries.keys] == [True]
            assert (await anext(messages)).HasField("heartbeat")
