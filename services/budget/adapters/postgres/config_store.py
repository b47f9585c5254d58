"""Reads what the owner of a tree decides by: its budgets, keys, users and prices."""

import functools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.budget.adapters.postgres.gently import gently
from services.budget.adapters.postgres.prices import price_of
from services.budget.adapters.postgres.rows import from_json
from services.budget.adapters.postgres.statements import statements
from services.budget.domain.budgets import (
    Budget,
    Mode,
    ModelScope,
    ModelScopeKind,
    Override,
    Subject,
    SubjectKind,
    Unit,
)
from services.budget.domain.config import ConfigChange, ConfigKind, KeyInForce, TreeConfig, TreeDelta
from services.budget.domain.entities import EntityState, KeyPermission
from services.budget.domain.limits import StoredBudget, WindowForm
from services.budget.domain.price_book import OrganisationPrices
from services.budget.domain.tree import STEP
from services.budget.domain.windows import Window
from services.budget.ports import Connection

# Most budgets share a handful of windows; fixed ones have an anchor of their own.
WINDOWS_REMEMBERED = 10_000
# By value: to ask an enumeration takes ten times as long, and a claim asks half a million times.
_SCOPES: dict[object, ModelScopeKind] = {each.value: each for each in ModelScopeKind}
_SUBJECTS: dict[object, SubjectKind] = {each.value: each for each in SubjectKind}
_UNITS: dict[object, Unit] = {each.value: each for each in Unit}
_MODES: dict[object, Mode] = {each.value: each for each in Mode}
_ACTIVE = int(EntityState.ACTIVE)


class PostgresConfigStore:
    """The admin half's tables, as the owner reads them. What Postgres cannot do leaves as its own errors: the owner
    turns them into its own."""

    async def load_tree(
        self, connection: Connection, organisation_id: str, revision: int
    ) -> TreeConfig | None:
        """The whole configuration; None if there is no such organisation."""
        organisation = await connection.fetchrow(statements()["config_organisation"], organisation_id)
        if organisation is None:
            return None
        disabled, user_ids = await self._users(connection, organisation_id)
        return TreeConfig(
            organisation_id=organisation_id,
            revision=revision,
            prices=await self._prices(connection, organisation_id, organisation),
            budgets=await self.budgets(connection, organisation_id, None),
            keys=await self._keys(connection, organisation_id, None),
            disabled_users=disabled,
            active=organisation["state"] == EntityState.ACTIVE,
            user_ids=user_ids,
        )

    async def load_changes(
        self, connection: Connection, organisation_id: str, changes: Sequence[ConfigChange], revision: int
    ) -> TreeDelta:
        """What the named things are now."""
        ids: dict[ConfigKind, set[str]] = defaultdict(set)
        for change in changes:
            ids[change.kind].add(change.id)
        organisation = await connection.fetchrow(statements()["config_organisation"], organisation_id)
        everybody = ConfigKind.ORGANISATION in ids
        budgets: Mapping[str, Budget | None] = {}
        if ConfigKind.BUDGET in ids:
            found = await self.budgets(connection, organisation_id, ids[ConfigKind.BUDGET])
            budgets = {budget_id: found.get(budget_id) for budget_id in ids[ConfigKind.BUDGET]}
        keys: Mapping[str, KeyInForce | None] = {}
        if everybody:
            keys = await self._keys(connection, organisation_id, None)
        elif ConfigKind.KEY in ids:
            known = await self._keys(connection, organisation_id, ids[ConfigKind.KEY])
            keys = {key_id: known.get(key_id) for key_id in ids[ConfigKind.KEY]}
        disabled, user_ids, prices = None, None, None
        if everybody or ConfigKind.USER in ids:
            disabled, user_ids = await self._users(connection, organisation_id)
        if everybody or ConfigKind.PRICES in ids:
            prices = await self._prices(connection, organisation_id, organisation)
        active = organisation is not None and organisation["state"] == EntityState.ACTIVE
        return TreeDelta(
            revision,
            budgets,
            keys,
            disabled_users=disabled,
            active=active if everybody else None,
            prices=prices,
            user_ids=user_ids,
        )

    async def budgets(
        self, connection: Connection, organisation_id: str, ids: Collection[str] | None
    ) -> dict[str, Budget]:
        """Budgets with what changes their limits for a while; all that are not archived where `ids` is None."""
        rows = await connection.fetch(statements()["config_budgets"], organisation_id, _array(ids))
        if ids is None:
            overrides, transfers = await self._changes(connection, "config_all_", organisation_id)
        else:
            overrides, transfers = await self._changes(connection, "config_", list(ids))
        found: dict[str, Budget] = {}

        def steps() -> Iterator[None]:
            for count, row in enumerate(rows):
                if count % STEP == STEP - 1:
                    yield
                budget_id = row["budget_id"]
                found[budget_id] = _budget(row, overrides.get(budget_id, ()), transfers.get(budget_id, ()))

        await gently(steps())
        return found

    async def in_force(self, connection: Connection, stored: Sequence[StoredBudget]) -> dict[str, Budget]:
        """Stored budgets as their owner decides by them."""
        ids = [str(budget.budget_id) for budget in stored]
        overrides, transfers = await self._changes(connection, "config_", ids)
        return {
            budget.budget_id: budget.in_force(
                overrides.get(budget.budget_id, ()), transfers.get(budget.budget_id, ())
            )
            for budget in stored
        }

    async def _changes(
        self, connection: Connection, statement: str, whose: Sequence[str] | str
    ) -> tuple[Mapping[str, Sequence[Override]], Mapping[str, Sequence[tuple[datetime, int]]]]:
        """Overrides and transfers of those budgets that have some."""
        overrides: dict[str, list[Override]] = defaultdict(list)
        for row in await connection.fetch(statements()[f"{statement}overrides"], whose):
            override = Override(row["limit"], row["starts_at"], row["ends_at"])
            overrides[row["budget_id"]].append(override)
        transfers: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
        for row in await connection.fetch(statements()[f"{statement}transfers"], whose):
            transfers[row["budget_id"]].append((row["moved_at"], row["amount"]))
        return overrides, transfers

    async def _keys(
        self, connection: Connection, organisation_id: str, ids: Collection[str] | None
    ) -> dict[str, KeyInForce]:
        rows = await connection.fetch(statements()["config_keys"], organisation_id, _array(ids))
        found: dict[str, KeyInForce] = {}

        def steps() -> Iterator[None]:
            for count, row in enumerate(rows):
                if count % STEP == STEP - 1:
                    yield
                found[row["key_id"]] = _key(row)

        await gently(steps())
        return found

    async def _users(
        self, connection: Connection, organisation_id: str
    ) -> tuple[frozenset[str], dict[str, str]]:
        """Disabled users by id and by pseudonym, since a hold may name one by either; and ids by pseudonym."""
        rows = await connection.fetch(statements()["config_users"], organisation_id)
        disabled = frozenset(
            name
            for row in rows
            if row["state"] != EntityState.ACTIVE
            for name in (row["user_id"], row["external_id"])
        )
        return disabled, {row["external_id"]: row["user_id"] for row in rows}

    async def _prices(
        self, connection: Connection, organisation_id: str, organisation: Mapping[str, Any]
    ) -> OrganisationPrices:
        revision = await connection.fetchval(statements()["price_revision"])
        rows = await connection.fetch(statements()["select_prices"], organisation_id, None)
        return OrganisationPrices(
            (price_of(row) for row in rows),
            revision=revision,
            discount_ppm=organisation["discount_ppm"],
            unknown_price_policy=organisation["unknown_price_policy"],
        )


def _array(ids: Collection[str] | None) -> list[str] | None:
    return None if ids is None else list(ids)


@functools.lru_cache(maxsize=WINDOWS_REMEMBERED)
def _window(document: str) -> Window:
    return from_json(document, WindowForm).window()


def _budget(
    row: Mapping[str, Any], overrides: Sequence[Override], transfers: Sequence[tuple[datetime, int]]
) -> Budget:
    """A row as StoredBudget.in_force has it, without the way over it: a claim of a large tree waits for this."""
    scope = None
    if row["scope_kind"] is not None:
        scope = ModelScope(_SCOPES[row["scope_kind"]], row["scope_name"])
    return Budget(
        budget_id=row["budget_id"],
        subject=Subject(_SUBJECTS[row["subject_kind"]], row["subject_id"]),
        unit=_UNITS[row["unit"]],
        limit=row["limit"],
        window=_window(row["window"]),
        counts_since=row["counts_since"],
        model_scope=scope,
        mode=_MODES[row["mode"]],
        alert_percents=tuple(row["alert_percents"]),
        display_name=row["display_name"],
        active=row["state"] == _ACTIVE,
        overrides=tuple(overrides),
        transfers=tuple(transfers),
    )


def _key(row: Mapping[str, Any]) -> KeyInForce:
    above = {
        f"project:{row['project_id']}": row["project_state"],
        f"team:{row['team_id']}": row["team_state"],
        f"key:{row['key_id']}": row["state"],
    }
    disabled = [subject for subject, state in above.items() if state != EntityState.ACTIVE]
    permissions = row["permissions"]
    return KeyInForce(
        key_id=row["key_id"],
        project_id=row["project_id"],
        team_id=row["team_id"],
        user_id=row["user_id"] or "",
        expires_at=row["expires_at"],
        revoked=row["state"] == EntityState.ARCHIVED,
        disabled_subject=disabled[0] if disabled else "",
        may_generate=KeyPermission.GENERATE in permissions,
        may_meter=KeyPermission.METER in permissions,
        may_act_for_users=KeyPermission.ACT_FOR_USERS in permissions,
    )
