"""Keeps policies, grants and aliases in Postgres, and brings what others changed into memory within a second.

While Postgres is away what is in memory stays in force, changes are refused with StoreUnavailable, and it heals by
itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from services.chassis.postgres import Connection, Database
from services.chassis.queries import Queries
from services.kernel.errors import PreconditionFailed, RequestIdReused, StoreUnavailable
from services.router.admin_ports import Changing, Stored
from services.router.domain.administered import (
    AliasTarget,
    AuditRecord,
    Change,
    Entity,
    PolicyState,
    RouterAuditId,
    StoredAlias,
    StoredGrant,
    StoredPolicy,
    StoredPrior,
)

LOOK_EVERY_S = 0.4
"""A change is in force everywhere within a second: twice this, and the time it takes to load."""

EVERYBODY = ""
"""Stands for all organisations, in the trail of what concerns them all."""

log = structlog.get_logger()


class PostgresPolicies:
    """The `PolicyStore` port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def changing(self, change: Change) -> AsyncIterator[Changing]:
        queries = self._database.queries
        async with self._database.transaction() as connection:
            await connection.execute(queries["lock_book"])
            answered = await connection.fetchrow(
                queries["find_answer"], change.admin_token_id, change.request_id
            )
            if answered is not None and answered["content_hash"] != change.content_hash:
                raise RequestIdReused(change.request_id)
            yield _Transaction(
                connection, queries, change, _entity(answered["answer"]) if answered is not None else None
            )

    async def revision(self) -> int:
        return int(await self._database.fetchval(self._database.queries["book_revision"]))

    async def load(self) -> Stored:
        queries = self._database.queries
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            return Stored(
                int(await connection.fetchval(queries["book_revision"])),
                [_policy(row) for row in await connection.fetch(queries["load_policies"])],
                [_grant(row) for row in await connection.fetch(queries["load_grants"])],
                [_alias(row) for row in await connection.fetch(queries["load_aliases"])],
            )

    async def prior_version(self) -> str:
        return str(await self._database.fetchval(self._database.queries["prior_in_force"]))

    async def prior_content(self, version: str) -> bytes | None:
        content = await self._database.fetchval(self._database.queries["prior_content"], version)
        return None if content is None else bytes(content)

    async def policies(self, organisation_id: str, after: str, rows: int) -> Sequence[StoredPolicy]:
        return [_policy(row) for row in await self._rows("list_policies", organisation_id, after, rows)]

    async def policy_versions(self, policy_id: str, below: int, rows: int) -> Sequence[StoredPolicy]:
        return [_policy(row) for row in await self._rows("list_policy_versions", policy_id, below, rows)]

    async def grants(
        self, organisation_id: str, subject: str, after: str, rows: int
    ) -> Sequence[StoredGrant]:
        return [_grant(row) for row in await self._rows("list_grants", organisation_id, subject, after, rows)]

    async def aliases(self, organisation_id: str, after: str, rows: int) -> Sequence[StoredAlias]:
        return [_alias(row) for row in await self._rows("list_aliases", organisation_id, after, rows)]

    async def audit(
        self, organisation_id: str, entity_id: str, before: str, rows: int
    ) -> Sequence[AuditRecord]:
        found = await self._rows("list_audit", organisation_id, entity_id, before, rows)
        return [
            AuditRecord(
                row["audit_id"],
                row["occurred_at"],
                row["admin_token_id"],
                row["method"],
                row["entity_id"],
                row["organisation_id"],
                row["before"] or "",
                row["after"] or "",
            )
            for row in found
        ]

    async def _rows(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._database.fetch(self._database.queries[name], *arguments)


class _Transaction:
    """The `Changing` port."""

    def __init__(
        self, connection: Connection, queries: Queries, change: Change, answered: Entity | None
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._change = change
        self.answered = answered

    async def policy(self, policy_id: str) -> StoredPolicy | None:
        row = await self._connection.fetchrow(self._queries["find_policy"], policy_id)
        return _policy(row) if row is not None else None

    async def policy_version(self, policy_id: str, version: int) -> StoredPolicy | None:
        row = await self._connection.fetchrow(self._queries["find_policy_version"], policy_id, version)
        return _policy(row) if row is not None else None

    async def last_version(self, policy_id: str) -> int:
        return int(await self._connection.fetchval(self._queries["last_version"], policy_id) or 0)

    async def put_policy(self, policy: StoredPolicy, before: StoredPolicy | None) -> None:
        values = asdict(policy) | {"state": policy.state.value}
        await self._connection.execute(self._queries["add_policy_version"], *values.values())
        try:
            await self._connection.execute(
                self._queries["put_policy_head"],
                policy.policy_id,
                policy.organisation_id,
                policy.scope,
                policy.state.value,
                policy.version,
            )
        except asyncpg.UniqueViolationError as error:
            raise PreconditionFailed(
                f"Another policy for {policy.scope} is {policy.state.value} already; change that one."
            ) from error
        await self._keep(policy.policy_id, policy.organisation_id, before, policy)

    async def delete_policy(self, policy: StoredPolicy) -> None:
        await self._connection.execute(self._queries["remove_policy_head"], policy.policy_id)
        await self._keep(policy.policy_id, policy.organisation_id, policy, None)

    async def grant(self, grant_id: str) -> StoredGrant | None:
        row = await self._connection.fetchrow(self._queries["find_grant"], grant_id)
        return _grant(row) if row is not None else None

    async def add_grant(self, grant: StoredGrant) -> None:
        await self._connection.execute(self._queries["add_grant"], *asdict(grant).values())
        await self._keep(grant.grant_id, grant.organisation_id, None, grant)

    async def delete_grant(self, grant: StoredGrant) -> None:
        await self._connection.execute(self._queries["remove_grant"], grant.grant_id)
        await self._keep(grant.grant_id, grant.organisation_id, grant, None)

    async def alias(self, organisation_id: str, alias: str) -> StoredAlias | None:
        row = await self._connection.fetchrow(self._queries["find_alias"], organisation_id, alias)
        return _alias(row) if row is not None else None

    async def put_alias(self, alias: StoredAlias, before: StoredAlias | None) -> None:
        targets = json.dumps([asdict(target) for target in alias.targets])
        await self._connection.execute(
            self._queries["put_alias"],
            alias.organisation_id,
            alias.alias,
            targets,
            alias.mirror_model,
            alias.mirror_permille,
            alias.version,
        )
        await self._keep(alias.alias, alias.organisation_id, before, alias)

    async def delete_alias(self, alias: StoredAlias) -> None:
        await self._connection.execute(self._queries["remove_alias"], alias.organisation_id, alias.alias)
        await self._keep(alias.alias, alias.organisation_id, alias, None)

    async def prior_in_force(self) -> str:
        return str(await self._connection.fetchval(self._queries["prior_in_force"]))

    async def prior(self, version: str) -> StoredPrior | None:
        row = await self._connection.fetchrow(self._queries["find_prior"], version)
        if row is None:
            return None
        findings = tuple(json.loads(row["findings"]))
        return StoredPrior(row["version"], findings, row["promoted_by"], row["promoted_at"])

    async def put_prior(self, prior: StoredPrior, content: bytes | None, before: StoredPrior | None) -> None:
        if content is not None:
            findings = json.dumps(prior.findings)
            await self._connection.execute(
                self._queries["add_prior"],
                prior.version,
                content,
                findings,
                prior.promoted_by,
                prior.promoted_at,
            )
        await self._connection.execute(self._queries["put_prior_in_force"], prior.version)
        await self._keep(prior.version, EVERYBODY, before, prior)

    async def _keep(
        self, entity_id: str, organisation_id: str, before: Entity | None, after: Entity | None
    ) -> None:
        """The answer and the trail, in the change's own transaction."""
        change = self._change
        answer = after if after is not None else before
        assert answer is not None
        await self._connection.execute(
            self._queries["keep_answer"],
            change.admin_token_id,
            change.request_id,
            change.content_hash,
            _json(answer),
            change.at,
        )
        await self._connection.execute(
            self._queries["add_audit"],
            RouterAuditId.new(),
            change.at,
            change.admin_token_id,
            change.method,
            entity_id,
            organisation_id,
            _json(before) if before is not None else None,
            _json(after) if after is not None else None,
        )


class BookWatch:
    """Brings what was changed into memory."""

    def __init__(self, store: PostgresPolicies, take: Callable[[Stored], None]) -> None:
        self._store = store
        self._take = take
        self._revision = -1

    async def refresh(self) -> None:
        """Loads what acts, if it was changed since. Raises StoreUnavailable."""
        if await self._store.revision() != self._revision:
            stored = await self._store.load()
            self._take(stored)
            self._revision = stored.revision

    async def run(self) -> None:
        """Looks for ever, until it is cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:
                log.warning("policies not refreshed", store="postgres")
            await asyncio.sleep(LOOK_EVERY_S)


_KINDS: Mapping[str, type[Entity]] = {
    "policy": StoredPolicy,
    "grant": StoredGrant,
    "alias": StoredAlias,
    "prior": StoredPrior,
}


def _json(entity: Entity) -> str:
    kind = next(name for name, found in _KINDS.items() if isinstance(entity, found))
    values = {name: _plain(value) for name, value in asdict(entity).items()}
    return json.dumps({"kind": kind, **values})


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, PolicyState) else value


def _entity(answer: str) -> Entity:
    values: dict[str, Any] = json.loads(answer)
    kind = _KINDS[values.pop("kind")]
    for moment in {"created_at", "promoted_at"} & values.keys():
        values[moment] = datetime.fromisoformat(values[moment])
    if "findings" in values:
        values["findings"] = tuple(values["findings"])
    if "state" in values:
        values["state"] = PolicyState(values["state"])
    if "targets" in values:
        values["targets"] = tuple(AliasTarget(**target) for target in values["targets"])
    return kind(**values)


def _policy(row: asyncpg.Record) -> StoredPolicy:
    return StoredPolicy(**{**dict(row), "state": PolicyState(row["state"])})


def _grant(row: asyncpg.Record) -> StoredGrant:
    return StoredGrant(**dict(row))


def _alias(row: asyncpg.Record) -> StoredAlias:
    targets = tuple(AliasTarget(**target) for target in json.loads(row["targets"]))
    return StoredAlias(**{**dict(row), "targets": targets})
