"""What administering the router needs from its store."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.router.domain.administered import (
    AuditRecord,
    Change,
    Entity,
    StoredAlias,
    StoredGrant,
    StoredPolicy,
    StoredPrior,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that acts, at one revision."""

    revision: int
    policies: Sequence[StoredPolicy]
    grants: Sequence[StoredGrant]
    aliases: Sequence[StoredAlias]


class Changing(Protocol):
    """A change under way: all of it happens or nothing, one at a time."""

    answered: Entity | None
    """The answer to the same change before; then nothing more is to be done."""

    async def policy(self, policy_id: str) -> StoredPolicy | None:
        """The newest version; None if there is none or it was deleted."""
        ...

    async def policy_version(self, policy_id: str, version: int) -> StoredPolicy | None:
        """One version; None if there is none."""
        ...

    async def last_version(self, policy_id: str) -> int:
        """The newest version there ever was; 0: none."""
        ...

    async def put_policy(self, policy: StoredPolicy, before: StoredPolicy | None) -> None:
        """Writes a version and puts it in force. Raises PreconditionFailed if another decides for the scope."""
        ...

    async def delete_policy(self, policy: StoredPolicy) -> None:
        """Takes a policy out of force."""
        ...

    async def grant(self, grant_id: str) -> StoredGrant | None:
        """A grant; None: there is none."""
        ...

    async def add_grant(self, grant: StoredGrant) -> None:
        """Writes a grant."""
        ...

    async def delete_grant(self, grant: StoredGrant) -> None:
        """Takes one back."""
        ...

    async def alias(self, organisation_id: str, alias: str) -> StoredAlias | None:
        """An alias; None: there is none."""
        ...

    async def put_alias(self, alias: StoredAlias, before: StoredAlias | None) -> None:
        """Writes an alias."""
        ...

    async def delete_alias(self, alias: StoredAlias) -> None:
        """Removes one."""
        ...

    async def prior_in_force(self) -> str:
        """The version in force."""
        ...

    async def prior(self, version: str) -> StoredPrior | None:
        """One that is or was in force; None if none such was. The shipped one is not among them."""
        ...

    async def put_prior(self, prior: StoredPrior, content: bytes | None, before: StoredPrior | None) -> None:
        """Puts a prior in force; `content` None: its file is kept already, or comes with the router."""
        ...


class PriorStore(Protocol):
    """Where priors are kept. Raises StoreUnavailable; the one in memory then stays in force."""

    def changing(self, change: Change) -> AbstractAsyncContextManager[Changing]:
        """A change for the length of a block. Raises RequestIdReused if its id was used for another."""
        ...

    async def prior_version(self) -> str:
        """The version in force."""
        ...

    async def prior_content(self, version: str) -> bytes | None:
        """A prior's file; None: there is none of this version."""
        ...


class PolicyStore(Protocol):
    """Where policies, grants and aliases are kept. Raises StoreUnavailable; what is in memory then stays in force."""

    def changing(self, change: Change) -> AbstractAsyncContextManager[Changing]:
        """A change for the length of a block. Raises RequestIdReused if its id was used for another."""
        ...

    async def revision(self) -> int:
        """How often anything was changed."""
        ...

    async def load(self) -> Stored:
        """Everything that acts."""
        ...

    async def policies(self, organisation_id: str, after: str, rows: int) -> Sequence[StoredPolicy]:
        """A page, by id."""
        ...

    async def policy_versions(self, policy_id: str, below: int, rows: int) -> Sequence[StoredPolicy]:
        """A page, newest first."""
        ...

    async def grants(
        self, organisation_id: str, subject: str, after: str, rows: int
    ) -> Sequence[StoredGrant]:
        """A page, by id."""
        ...

    async def aliases(self, organisation_id: str, after: str, rows: int) -> Sequence[StoredAlias]:
        """A page, by name."""
        ...

    async def audit(
        self, organisation_id: str, entity_id: str, before: str, rows: int
    ) -> Sequence[AuditRecord]:
        """A page, newest first."""
        ...
