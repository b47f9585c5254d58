"""Admins change policies, grants and aliases: who may, what is checked, what follows."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from services.access import AdminCaller, AdminRole
from services.kernel.errors import (
    EtagMismatch,
    FieldViolation,
    InvalidRequest,
    NotFound,
    PermissionDenied,
)
from services.kernel.ids import PolicyId
from services.router.admin_ports import PolicyStore, Stored
from services.router.domain import patterns
from services.router.domain.access import Grant
from services.router.domain.administered import (
    AuditRecord,
    Change,
    GrantId,
    PolicyState,
    StoredAlias,
    StoredGrant,
    StoredPolicy,
)
from services.router.domain.policy import Policy, Share
from services.router.domain.policy_book import Alias, PolicyBook, ScopedPolicies
from services.router.domain.policy_document import read_policy
from services.router.domain.policy_fields import PolicyProblem
from services.router.domain.world import World
from services.router.errors import PolicyInvalid

COMMENT_LENGTH_MAX = 500
TARGETS_MAX = 16
NEWEST = 2**31 - 1
"""Above every version."""
AFTER_ALL = "~"
"""Above every id of ours, which begin with letters."""

_SUBJECT = re.compile(r"(organisation|team|project|key):([a-z]+_[0-9a-z]{26})")
_ALIAS = re.compile(r"[a-z0-9][a-z0-9\-.]{0,63}")
_ADMINS = (AdminRole.ORGANISATION_ADMIN, AdminRole.TEAM_ADMIN)
_READERS = (*_ADMINS, AdminRole.VIEWER)

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class PolicyWish:
    """What PutPolicy asks for."""

    policy_id: str
    """Empty: a new one."""
    organisation_id: str
    scope: str
    document_yaml: str
    state: PolicyState
    comment: str
    expected_version: int
    """0: not checked."""


class Administer:
    """The use cases of RouterAdminService that change or list."""

    def __init__(self, store: PolicyStore, world: World, refresh: Callable[[], Awaitable[None]]) -> None:
        """`refresh` brings a change into this replica's memory at once."""
        self._store = store
        self._world = world
        self._refresh = refresh

    # ---- policies ----------------------------------------------------------------------------------------------------

    async def put_policy(self, admin: AdminCaller, wish: PolicyWish, change: Change) -> StoredPolicy:
        """Writes a new version, after validation."""
        organisation_id = admin.organisation(wish.organisation_id)
        kind, _ = _subject(wish.scope, "policy.scope")
        if kind == "key":
            raise InvalidRequest.of("policy.scope", "is an organisation, a team or a project")
        self._permit(admin, organisation_id, wish.scope)
        if len(wish.comment) > COMMENT_LENGTH_MAX:
            raise InvalidRequest.of("policy.comment", f"has at most {COMMENT_LENGTH_MAX} characters")
        checked(wish.document_yaml)
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return _as(StoredPolicy, changing.answered)
            before = await changing.policy(wish.policy_id) if wish.policy_id else None
            if wish.policy_id and (before is None or before.organisation_id != organisation_id):
                raise NotFound("policy", wish.policy_id)
            if before is not None and before.scope != wish.scope:
                raise InvalidRequest.of("policy.scope", f"is {before.scope} and cannot be changed")
            if wish.expected_version and (before.version if before else 0) != wish.expected_version:
                raise EtagMismatch("policy", wish.policy_id)
            policy_id = wish.policy_id or PolicyId.new()
            policy = StoredPolicy(
                policy_id=policy_id,
                organisation_id=organisation_id,
                scope=wish.scope,
                version=await changing.last_version(policy_id) + 1,
                document_yaml=wish.document_yaml,
                state=wish.state,
                comment=wish.comment,
                created_by=change.admin_token_id,
                created_at=change.at,
            )
            await changing.put_policy(policy, before)
        await self._refresh()
        return policy

    async def roll_back(
        self, admin: AdminCaller, policy_id: str, version: int, comment: str, change: Change
    ) -> StoredPolicy:
        """Puts an earlier version in force again, as a new version."""
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return _as(StoredPolicy, changing.answered)
            before = await changing.policy(policy_id)
            earlier = await changing.policy_version(policy_id, version)
            if before is None or earlier is None:
                raise NotFound("policy", f"{policy_id}@{version}")
            self._own(admin, before.organisation_id, "policy", policy_id)
            self._permit(admin, before.organisation_id, before.scope)
            checked(earlier.document_yaml)  # what was valid may no longer be
            policy = replace(
                earlier,
                version=await changing.last_version(policy_id) + 1,
                state=before.state,
                comment=comment or f"Back to version {version}.",
                created_by=change.admin_token_id,
                created_at=change.at,
            )
            await changing.put_policy(policy, before)
        await self._refresh()
        return policy

    async def delete_policy(self, admin: AdminCaller, policy_id: str, change: Change) -> None:
        """Takes a policy out of force; its versions stay."""
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return
            before = await changing.policy(policy_id)
            if before is None:
                raise NotFound("policy", policy_id)
            self._own(admin, before.organisation_id, "policy", policy_id)
            self._permit(admin, before.organisation_id, before.scope)
            await changing.delete_policy(before)
        await self._refresh()

    async def policies(
        self, admin: AdminCaller, organisation_id: str, after: str, rows: int
    ) -> Sequence[StoredPolicy]:
        """A page of an organisation's policies."""
        admin.require(*_READERS)
        return await self._store.policies(admin.organisation(organisation_id), after, rows)

    async def policy_versions(
        self, admin: AdminCaller, policy_id: str, below: int | None, rows: int
    ) -> Sequence[StoredPolicy]:
        """A page of a policy's versions, newest first."""
        admin.require(*_READERS)
        found = await self._store.policy_versions(policy_id, below or NEWEST, rows)
        for version in found[:1]:
            self._own(admin, version.organisation_id, "policy", policy_id)
        return found

    # ---- grants ------------------------------------------------------------------------------------------------------

    async def create_grant(self, admin: AdminCaller, grant: StoredGrant, change: Change) -> StoredGrant:
        """Allows or denies models to somebody."""
        organisation_id = admin.organisation(grant.organisation_id)
        _subject(grant.subject, "grant.subject")
        wrong = patterns.problem(grant.model_pattern)
        if wrong:
            raise InvalidRequest.of("grant.model_pattern", wrong)
        self._permit(admin, organisation_id, grant.subject)
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return _as(StoredGrant, changing.answered)
            made = replace(
                grant,
                grant_id=GrantId.new(),
                organisation_id=organisation_id,
                created_by=change.admin_token_id,
                created_at=change.at,
            )
            await changing.add_grant(made)
        await self._refresh()
        return made

    async def delete_grant(self, admin: AdminCaller, grant_id: str, change: Change) -> None:
        """Takes a grant back."""
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return
            grant = await changing.grant(grant_id)
            if grant is None:
                raise NotFound("model grant", grant_id)
            self._own(admin, grant.organisation_id, "model grant", grant_id)
            self._permit(admin, grant.organisation_id, grant.subject)
            await changing.delete_grant(grant)
        await self._refresh()

    async def grants(
        self, admin: AdminCaller, organisation_id: str, subject: str, after: str, rows: int
    ) -> Sequence[StoredGrant]:
        """A page of an organisation's grants."""
        admin.require(*_READERS)
        return await self._store.grants(admin.organisation(organisation_id), subject, after, rows)

    # ---- aliases -----------------------------------------------------------------------------------------------------

    async def put_alias(self, admin: AdminCaller, alias: StoredAlias, change: Change) -> StoredAlias:
        """Writes an alias."""
        admin.require(AdminRole.ORGANISATION_ADMIN)
        organisation_id = admin.organisation(alias.organisation_id)
        _check_alias(alias)
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return _as(StoredAlias, changing.answered)
            before = await changing.alias(organisation_id, alias.alias)
            made = replace(
                alias, organisation_id=organisation_id, version=(before.version if before else 0) + 1
            )
            await changing.put_alias(made, before)
        await self._refresh()
        return made

    async def delete_alias(
        self, admin: AdminCaller, organisation_id: str, alias: str, change: Change
    ) -> None:
        """Removes an alias."""
        admin.require(AdminRole.ORGANISATION_ADMIN)
        organisation_id = admin.organisation(organisation_id)
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return
            before = await changing.alias(organisation_id, alias)
            if before is None:
                raise NotFound("alias", alias)
            await changing.delete_alias(before)
        await self._refresh()

    async def aliases(
        self, admin: AdminCaller, organisation_id: str, after: str, rows: int
    ) -> Sequence[StoredAlias]:
        """A page of an organisation's aliases."""
        admin.require(*_READERS)
        return await self._store.aliases(admin.organisation(organisation_id), after, rows)

    async def audit(
        self, admin: AdminCaller, organisation_id: str, entity_id: str, before: str, rows: int
    ) -> Sequence[AuditRecord]:
        """A page of the audit trail, newest first."""
        admin.require(AdminRole.ORGANISATION_ADMIN)
        if admin.role is not AdminRole.OPERATOR or organisation_id:
            organisation_id = admin.organisation(organisation_id)
        return await self._store.audit(organisation_id, entity_id, before or AFTER_ALL, rows)

    # ---- who may -----------------------------------------------------------------------------------------------------

    def _permit(self, admin: AdminCaller, organisation_id: str, subject: str) -> None:
        """An admin of the organisation, or of the team that the subject belongs to."""
        admin.require(*_ADMINS)
        if admin.role is not AdminRole.TEAM_ADMIN:
            return
        kind, identity = _subject(subject, "subject")
        directory = self._world.directory
        team = {
            "team": identity,
            "project": directory.team_of_project(identity),
            "key": directory.team_of_key(identity),
        }.get(kind)
        if team is None or team != admin.team_id:
            raise PermissionDenied("the role organisation admin, or team admin of the subject's team")

    def _own(self, admin: AdminCaller, organisation_id: str, kind: str, entity_id: str) -> None:
        if admin.role is not AdminRole.OPERATOR and admin.organisation_id != organisation_id:
            raise NotFound(kind, entity_id)


def _as(kind: type[Kept], answered: object) -> Kept:
    assert isinstance(answered, kind)
    return answered


def _subject(subject: str, field: str) -> tuple[str, str]:
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        raise InvalidRequest.of(field, "is `organisation:`, `team:`, `project:` or `key:` with an id")
    return match[1], match[2]


def checked(document: str) -> Policy:
    """The policy of a document. Raises PolicyInvalid, which names every mistake with its line."""
    policy, problems = read_policy(document)
    if policy is None:
        raise PolicyInvalid(
            tuple(
                FieldViolation(f"document_yaml:{problem.line}:{problem.column}", _told(problem))
                for problem in problems
                if not problem.warning
            )
        )
    return policy


def _told(problem: PolicyProblem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message


def _check_alias(alias: StoredAlias) -> None:
    if not _ALIAS.fullmatch(alias.alias) or alias.alias == "auto":
        raise InvalidRequest.of(
            "alias.alias", "is 1 to 64 lower-case letters, digits, `-` or `.`, and not `auto`"
        )
    if not 1 <= len(alias.targets) <= TARGETS_MAX:
        raise InvalidRequest.of("alias.targets", f"has 1 to {TARGETS_MAX} items")
    for index, target in enumerate(alias.targets):
        wrong = patterns.problem(target.model)
        if wrong:
            raise InvalidRequest.of(f"alias.targets[{index}].model", wrong)
        if not 0 <= target.permille <= 1000:
            raise InvalidRequest.of(f"alias.targets[{index}].permille", "is 0 to 1000")
    if alias.mirror_model:
        wrong = patterns.problem(alias.mirror_model)
        if wrong or "/" not in alias.mirror_model or "*" in alias.mirror_model:
            raise InvalidRequest.of("alias.mirror_model", "is one model, as provider/model")
    if not 0 <= alias.mirror_permille <= 1000:
        raise InvalidRequest.of("alias.mirror_permille", "is 0 to 1000")


def book_of(stored: Stored, known: dict[tuple[str, int], Policy]) -> PolicyBook:
    """What is stored, ready to decide by. `known` remembers documents that were read before."""
    scopes: dict[str, ScopedPolicies] = {}
    for item in stored.policies:
        key = (item.policy_id, item.version)
        if key not in known:
            policy, _ = read_policy(item.document_yaml, policy_id=item.policy_id, version=item.version)
            # It was valid when it was written. If this version reads it otherwise, nothing passes until it is mended.
            known[key] = policy or Policy(item.policy_id, item.version, unreadable=True)
        scoped = scopes.get(item.scope, ScopedPolicies())
        if item.state is PolicyState.ACTIVE:
            scopes[item.scope] = replace(scoped, active=known[key])
        elif item.state is PolicyState.SHADOW:
            scopes[item.scope] = replace(scoped, shadow=known[key])
    grants: dict[str, list[Grant]] = {}
    for grant in stored.grants:
        grants.setdefault(grant.organisation_id, []).append(
            Grant(grant.grant_id, grant.subject, grant.model_pattern, grant.deny)
        )
    aliases = {
        (alias.organisation_id, alias.alias): Alias(
            alias.alias,
            alias.version,
            tuple(Share(target.model, float(target.permille)) for target in alias.targets),
            alias.mirror_model,
            alias.mirror_permille,
        )
        for alias in stored.aliases
    }
    return PolicyBook(
        stored.revision, scopes, {name: tuple(items) for name, items in grants.items()}, aliases
    )
