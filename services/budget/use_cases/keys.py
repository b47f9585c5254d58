"""Tenants' keys and admins' tokens: made, rotated, revoked. A secret is shown by the call that made it, once."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from services.budget.admin_ports import AdminStore, Writes
from services.budget.domain.admin import AdminChange
from services.budget.domain.entities import AdminToken, EntityState, Key, Role
from services.budget.domain.kinds import ADMIN_TOKEN, KEY, ORGANISATION, PROJECT, TEAM, USER, scope_of
from services.budget.domain.roles import DEPLOYMENT, may_grant
from services.budget.domain.secrets import NewSecret
from services.budget.use_cases.access import denied, permit
from services.budget.use_cases.entities import (
    Fields,
    announce,
    belonging,
    changed,
    check_current,
    found,
    found_parent,
    trail,
)
from services.kernel.errors import NotFound, PreconditionFailed
from services.kernel.ids import AdminTokenId, KeyId

E = TypeVar("E", Key, AdminToken)


@dataclass(frozen=True, slots=True)
class Shown(Generic[E]):
    """A key or token, with its secret if this very call made it."""

    entity: E
    secret: str = field(repr=False)
    """Empty where a call was repeated: the secret is not kept."""


def _shown(entity: E, secret: NewSecret) -> Shown[E]:
    return Shown(entity, secret.text if entity.secret_hash == secret.hash else "")


class Keys:
    """Tenants' keys."""

    def __init__(self, store: AdminStore) -> None:
        self._store = store

    async def create(self, new: Fields, change: AdminChange) -> Shown[Key]:
        """A new key of a project. Raises NotFound for a project or user that the caller may not see."""
        secret = NewSecret.of_key()

        async def work(writes: Writes) -> Key:
            project = await found_parent(writes, change, PROJECT, str(new["project_id"]))
            given: dict[str, Any] = {**new, **belonging(KEY, project)}
            key = Key(
                key_id=KeyId.new(),
                secret_hash=secret.hash,
                secret_prefix=secret.shown,
                created_at=change.at,
                **given,
            )
            permit(change, scope_of(key), KEY.label, "")
            if key.user_id is not None:
                user = await writes.find(USER, key.user_id)
                if user is None or user.organisation_id != key.organisation_id:
                    raise NotFound(USER.label, key.user_id)
                if user.state is EntityState.ARCHIVED:
                    raise PreconditionFailed(f"The user {key.user_id} is archived.")
            await writes.insert(KEY, key)
            await trail(writes, change, KEY, None, key)
            await announce(writes, KEY, key)
            return key

        return _shown(await self._store.once(change, Key, work), secret)

    async def rotate(self, key_id: str, grace: timedelta, change: AdminChange) -> Shown[Key]:
        """The key with a new secret. The one before works for `grace`; the one before that no longer."""
        secret = NewSecret.of_key()

        async def work(writes: Writes) -> Key:
            before = await found(writes, change, KEY, key_id)
            check_current(KEY, before, None)
            keeps = grace > timedelta(0)
            after = changed(
                before,
                {
                    "secret_hash": secret.hash,
                    "secret_prefix": secret.shown,
                    "previous_secret_hash": before.secret_hash if keeps else None,
                    "previous_secret_expires_at": change.at + grace if keeps else None,
                },
            )
            await writes.update(KEY, after)
            await trail(writes, change, KEY, before, after)
            await announce(writes, KEY, after)
            for gone in {before.secret_hash, before.previous_secret_hash} - {after.previous_secret_hash}:
                if gone is not None:
                    await writes.announce(KEY.name, key_id, removed_secret_hash=gone)
            return after

        return _shown(await self._store.once(change, Key, work), secret)

    async def revoke(self, key_id: str, change: AdminChange) -> Key:
        """The key, ended, with all its secrets. Again: changes nothing."""

        async def work(writes: Writes) -> Key:
            before = await found(writes, change, KEY, key_id)
            if before.state is EntityState.ARCHIVED:
                return before
            after = changed(before, {"state": EntityState.ARCHIVED})
            await writes.update(KEY, after)
            await trail(writes, change, KEY, before, after)
            await announce(writes, KEY, after)
            return after

        return await self._store.once(change, Key, work)


class AdminTokens:
    """Admins' tokens."""

    def __init__(self, store: AdminStore) -> None:
        self._store = store

    async def create(self, new: Fields, change: AdminChange) -> Shown[AdminToken]:
        """A new token. Raises PermissionDenied if it could do more than the caller."""
        secret = NewSecret.of_admin_token()

        async def work(writes: Writes) -> AdminToken:
            token = AdminToken(
                admin_token_id=AdminTokenId.new(),
                secret_hash=secret.hash,
                secret_prefix=secret.shown,
                created_at=change.at,
                **new,
            )
            scope = scope_of(token)
            if token.organisation_id is not None:
                permit(change, scope, ORGANISATION.label, token.organisation_id)
                await found_parent(writes, change, ORGANISATION, token.organisation_id)
            if token.team_id is not None:
                team = await found_parent(writes, change, TEAM, token.team_id)
                if team.organisation_id != token.organisation_id:
                    raise NotFound(TEAM.label, token.team_id)
            if not may_grant(change.admin, token.role, scope):
                raise denied_grant(change, token.role)
            await writes.insert(ADMIN_TOKEN, token)
            await trail(writes, change, ADMIN_TOKEN, None, token)
            return token

        return _shown(await self._store.once(change, AdminToken, work), secret)

    async def revoke(self, admin_token_id: str, change: AdminChange) -> AdminToken:
        """The token, ended. Raises PermissionDenied for one that can do more than the caller."""

        async def work(writes: Writes) -> AdminToken:
            before = await writes.find(ADMIN_TOKEN, admin_token_id)
            if before is None or _hidden(change, before):
                raise NotFound(ADMIN_TOKEN.label, admin_token_id)
            permit(change, scope_of(before), ADMIN_TOKEN.label, admin_token_id)
            if not may_grant(change.admin, before.role, scope_of(before)):
                raise denied_grant(change, before.role)
            if before.state is EntityState.ARCHIVED:
                return before
            after = changed(before, {"state": EntityState.ARCHIVED})
            await writes.update(ADMIN_TOKEN, after)
            await trail(writes, change, ADMIN_TOKEN, before, after)
            return after

        return await self._store.once(change, AdminToken, work)


def _hidden(change: AdminChange, token: AdminToken) -> bool:
    """An operator's token is nothing that a tenant's admin may know of."""
    return scope_of(token) == DEPLOYMENT and change.admin.role is not Role.OPERATOR


def denied_grant(change: AdminChange, role: Role) -> Exception:
    """The refusal of a caller who would give more than he has."""
    refusal = denied(change)
    refusal.needed = f"a role that itself may do what a {role.name.lower().replace('_', ' ')} may"
    return refusal
