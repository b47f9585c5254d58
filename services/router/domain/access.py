"""Who may use which model: the owner's grants, from the organisation down to the key.

A denial anywhere on the path beats every allowance. At each level that has allowances one of them must name the model,
so a narrower level can only take away. With no allowance on the path every model is allowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from services.router.domain.catalogue import ModelFacts
from services.router.domain.patterns import any_matches, matches

ACCESS_DENIED = "access.denied"
ACCESS_NOT_GRANTED = "access.not_granted"
ACCESS_KEY = "access.key"


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request runs, with what the directory says of its key."""

    organisation_id: str
    team_id: str
    project_id: str
    key_id: str
    user_id: str = ""
    model_patterns: tuple[str, ...] = ()
    """The key's own list. Empty: as the grants say."""
    may_act_for_users: bool = False

    @property
    def subjects(self) -> tuple[str, str, str, str]:
        """How grants and policies name it, widest first."""
        return (
            f"organisation:{self.organisation_id}",
            f"team:{self.team_id}",
            f"project:{self.project_id}",
            f"key:{self.key_id}",
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """Allows or denies models to a subject."""

    grant_id: str
    subject: str
    pattern: str
    deny: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """All that decides which models one caller may use; the same for every request of its key."""

    grants: tuple[Grant, ...] = ()
    """Of the caller's subjects alone."""
    key_patterns: tuple[str, ...] = ()

    def refusal(self, model: ModelFacts) -> tuple[str, str] | None:
        """The rule that forbids `model` and its finding for people; None if it is allowed."""
        for grant in self.grants:
            if grant.deny and matches(grant.pattern, model):
                return ACCESS_DENIED, f"A grant denies {grant.pattern} to {grant.subject}."
        for subject in dict.fromkeys(grant.subject for grant in self.grants if not grant.deny):
            allowed = [grant.pattern for grant in self.grants if grant.subject == subject and not grant.deny]
            if not any_matches(tuple(allowed), model):
                return ACCESS_NOT_GRANTED, f"{subject} is granted {_listed(allowed)} alone."
        if self.key_patterns and not any_matches(self.key_patterns, model):
            return ACCESS_KEY, f"The key may use {_listed(self.key_patterns)} alone."
        return None


def access_of(caller: Caller, grants: Iterable[Grant]) -> Access:
    """What of the organisation's grants concerns `caller`."""
    subjects = set(caller.subjects)
    return Access(tuple(grant for grant in grants if grant.subject in subjects), caller.model_patterns)


LISTED_MAX = 5


def _listed(patterns: Iterable[str]) -> str:
    names = list(patterns)
    shown = ", ".join(names[:LISTED_MAX])
    return shown if len(names) <= LISTED_MAX else f"{shown} and {len(names) - LISTED_MAX} more"
