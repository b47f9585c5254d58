"""Organisations, teams, projects and users: what is the same for everything that is made, read, changed and archived.

Keys (keys.py) and budgets (budgets.py) are made in ways of their own, and read, listed and changed by this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar

from services.budget.admin_ports import AdminStore, Reads, Selection, Writes
from services.budget.domain.admin import AdminCall, AdminChange, AuditRecord
from services.budget.domain.entities import EntityState, Organisation, Role
from services.budget.domain.ids import AuditId
from services.budget.domain.kinds import ORGANISATION, TEAM, Kind, scope_of
from services.budget.domain.roles import DEPLOYMENT, OPERATORS_FIELDS, Scope
from services.budget.use_cases.access import denied, permit
from services.kernel.errors import EtagMismatch, NotFound, PreconditionFailed
from services.kernel.ids import OrganisationId

E = TypeVar("E")

Fields = Mapping[str, Any]
"""Checked values of an entity's fields."""

PARENTS: Mapping[str, Kind[Any]] = {"team": ORGANISATION, "project": TEAM, "user": ORGANISATION}
_BELONGING = ("organisation_id", "team_id", "project_id")


@dataclass(frozen=True, slots=True)
class Update:
    """Which entity to change, and how."""

    entity_id: str
    version: int | None
    """The version it must have. None: any."""
    changes: Fields


@dataclass(frozen=True, slots=True)
class Page(Generic[E]):
    """Some entities of a list."""

    entities: list[E]
    more: bool
    """True if others follow."""


class Entities:
    """Makes, reads, changes and archives."""

    def __init__(self, store: AdminStore) -> None:
        self._store = store

    async def create(self, kind: Kind[E], new: Fields, change: AdminChange) -> E:
        """A new entity below its parent. Raises NotFound for a parent the caller may not see."""

        async def work(writes: Writes) -> E:
            inherited: dict[str, Any] = {}
            if kind.name in PARENTS:
                parent_kind = PARENTS[kind.name]
                parent = await found_parent(writes, change, parent_kind, str(new[parent_kind.id_field]))
                inherited = belonging(kind, parent)
            entity = kind.entity(
                **{**new, **inherited, kind.id_field: kind.id_type.new(), "created_at": change.at}
            )
            permit(change, DEPLOYMENT if kind.name == "organisation" else scope_of(entity), kind.label, "")
            await writes.insert(kind, entity)
            await trail(writes, change, kind, None, entity)
            await announce(writes, kind, entity)
            return entity

        return await self._store.once(change, kind.entity, work)

    async def get(self, kind: Kind[E], entity_id: str, call: AdminCall) -> E:
        """The entity; raises NotFound for what the caller may not see."""
        async with self._store.reading() as reads:
            return await found(reads, call, kind, entity_id)

    async def list(self, kind: Kind[E], selection: Selection) -> Page[E]:
        """A page of a list."""
        async with self._store.reading() as reads:
            entities = await reads.select(kind, replace(selection, count=selection.count + 1))
        return Page(entities[: selection.count], len(entities) > selection.count)

    async def update(self, kind: Kind[E], update: Update, change: AdminChange) -> E:
        """The entity with its changes. Raises EtagMismatch if it is not the version that was read."""

        async def work(writes: Writes) -> E:
            before = await found(writes, change, kind, update.entity_id)
            _operators_only(change, before, update.changes)
            check_current(kind, before, update.version)
            after = changed(before, update.changes)
            await keep(writes, change, kind, before, after)
            return after

        return await self._store.once(change, kind.entity, work)

    async def archive(self, kind: Kind[E], entity_id: str, version: int | None, change: AdminChange) -> E:
        """The entity, archived. What hangs below it no longer works; its records stay. Again: changes nothing."""

        async def work(writes: Writes) -> E:
            before = await found(writes, change, kind, entity_id)
            if getattr(before, "state") is EntityState.ARCHIVED:  # noqa: B009 -- every kind here has a state
                return before
            check_current(kind, before, version)
            after = changed(before, {"state": EntityState.ARCHIVED})
            await keep(writes, change, kind, before, after)
            return after

        return await self._store.once(change, kind.entity, work)


async def found(reads: Reads, call: AdminCall, kind: Kind[E], entity_id: str) -> E:
    """The entity, if there is one and the caller may do with it what he asks; raises NotFound or PermissionDenied."""
    entity = await reads.find(kind, entity_id)
    if entity is None:
        raise NotFound(kind.label, entity_id)
    permit(call, scope_of(entity), kind.label, entity_id)
    return entity


async def found_parent(writes: Writes, change: AdminChange, kind: Kind[E], entity_id: str) -> E:
    """What something is to be made below: seen by the caller and not archived."""
    parent = await writes.find(kind, entity_id)
    if parent is None or not _sees(change, scope_of(parent)):
        raise NotFound(kind.label, entity_id)
    if getattr(parent, "state") is EntityState.ARCHIVED:  # noqa: B009 -- every parent has a state
        raise PreconditionFailed(
            f"The {kind.label} {entity_id} is archived; nothing new can be made below it."
        )
    return parent


def _sees(change: AdminChange, scope: Scope) -> bool:
    admin = change.admin
    if admin.role is Role.OPERATOR:
        return True
    if scope.organisation_id != admin.organisation_id:
        return False
    return admin.team_id is None or scope.team_id in (None, admin.team_id)


def belonging(kind: Kind[E], parent: object) -> dict[str, Any]:
    """The ids that an entity of `kind` takes over from its parent."""
    own = {field.name for field in fields(kind.entity)}  # type: ignore[arg-type]
    return {name: getattr(parent, name) for name in _BELONGING if name in own and hasattr(parent, name)}


def changed(entity: E, changes: Fields) -> E:
    """The entity's next version."""
    version = getattr(entity, "version") + 1  # noqa: B009 -- every kind that changes has one
    return replace(entity, **changes, version=version)  # type: ignore[type-var]


def check_current(kind: Kind[E], entity: E, version: int | None) -> None:
    """Raises EtagMismatch for an old version, PreconditionFailed for what is archived."""
    entity_id = kind.id_of(entity)
    if version is not None and version != getattr(entity, "version"):  # noqa: B009
        raise EtagMismatch(kind.label, entity_id)
    if getattr(entity, "state") is EntityState.ARCHIVED:  # noqa: B009
        raise PreconditionFailed(f"The {kind.label} {entity_id} is archived and cannot be changed.")


def _operators_only(change: AdminChange, entity: object, changes: Fields) -> None:
    if isinstance(entity, Organisation) and change.admin.role is not Role.OPERATOR:
        ours = sorted(OPERATORS_FIELDS & changes.keys())
        if ours:
            refusal = denied(change)
            refusal.needed = f"the role operator for {', '.join(ours)}"
            raise refusal


async def keep(writes: Writes, change: AdminChange, kind: Kind[E], before: E, after: E) -> None:
    """Writes a change, its trail, and tells whom it concerns."""
    await writes.update(kind, after)
    await trail(writes, change, kind, before, after)
    await announce(writes, kind, after)


async def trail(
    writes: Writes, change: AdminChange, kind: Kind[E], before: E | None, after: E | None
) -> None:
    """Writes who changed what, when."""
    entity = after if after is not None else before
    assert entity is not None, "a change is about something"
    await writes.record(
        AuditRecord(
            audit_id=AuditId.new(),
            occurred_at=change.at,
            admin_token_id=change.admin.admin_token_id,
            method=change.method,
            entity_id=kind.id_of(entity),
            organisation_id=_optional(entity, "organisation_id"),
            team_id=_optional(entity, "team_id"),
            before=before,
            after=after,
            change_request_id=change.request_id,
        )
    )


def _optional(entity: object, name: str) -> Any:
    return getattr(entity, name, None)


async def announce(writes: Writes, kind: Kind[E], entity: E) -> None:
    """Tells the directory's readers, and the owner of the tree if it decides by what changed."""
    entity_id = kind.id_of(entity)
    await writes.announce(kind.name, entity_id)
    organisation: OrganisationId = getattr(entity, "organisation_id")  # noqa: B009 -- every kind here has one
    await writes.configure(kind.name, entity_id, organisation)
