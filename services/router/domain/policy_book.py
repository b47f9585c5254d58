"""Policies, grants and aliases in force, by whom they are for. Immutable; a change makes a new book."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.router.domain.access import Caller, Grant
from services.router.domain.policy import Policy, Share

DEFAULT_POLICY = Policy("", 0)
"""What holds where no policy is in force: balanced, anything granted, known prices only."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of an organisation's own for one or several models."""

    name: str
    version: int
    targets: tuple[Share, ...]
    """Patterns with their weights; all weights 0: the engine chooses among them."""
    mirror_model: str = ""
    mirror_permille: int = 0


@dataclass(frozen=True, slots=True)
class ScopedPolicies:
    """What is in force for one scope."""

    active: Policy | None = None
    shadow: Policy | None = None


@dataclass(frozen=True, slots=True)
class PolicyBook:
    """Everything that admins have set, at one revision of the router's store."""

    revision: int = 0
    policies: Mapping[str, ScopedPolicies] = field(default_factory=dict)
    """By scope: `organisation:…`, `team:…`, `project:…`."""
    grants: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict)
    """By organisation."""
    aliases: Mapping[tuple[str, str], Alias] = field(default_factory=dict)
    """By (organisation, name)."""

    def policy_for(self, caller: Caller) -> Policy:
        """The narrowest active policy on the path from project to organisation."""
        for found in self._on_path(caller):
            if found.active is not None:
                return found.active
        return DEFAULT_POLICY

    def shadow_for(self, caller: Caller) -> Policy | None:
        """The narrowest policy in shadow; None: there is none."""
        for found in self._on_path(caller):
            if found.shadow is not None:
                return found.shadow
        return None

    def _on_path(self, caller: Caller) -> list[ScopedPolicies]:
        """What is in force for the caller's scopes, the narrowest first."""
        if not self.policies:
            return []
        organisation, team, project, _ = caller.subjects
        return [self.policies[scope] for scope in (project, team, organisation) if scope in self.policies]

    def grants_of(self, organisation_id: str) -> tuple[Grant, ...]:
        """All grants of an organisation."""
        return self.grants.get(organisation_id, ())

    def alias(self, organisation_id: str, name: str) -> Alias | None:
        """The alias of this name; None: there is none."""
        return self.aliases.get((organisation_id, name))


EMPTY_BOOK = PolicyBook()
