"""Decides past requests again under another policy, by the engine itself, and says what would change."""

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from services.access import AdminCaller, AdminRole
from services.kernel.errors import InvalidRequest, TurnpikeError
from services.kernel.pricing import RateUnknown, Usage, charge_nanos
from services.router.domain.plan import Decision
from services.router.domain.policy import Policy
from services.router.use_cases.administer import checked
from services.router.use_cases.route import Router, Subject

GROUPS = ("", "team", "project", "task", "model")
DECISIONS_MAX = 20_000
"""Past requests in one simulation; at a tenth of a millisecond each, some seconds of one core."""

YIELD_EVERY = 50
"""Decisions between two moments in which the router serves others."""


@dataclass(frozen=True, slots=True)
class Past:
    """A request as it was, and what became of it."""

    subject: Subject
    seed: int
    model: str
    """That answered. Empty: none did."""
    cost_nanos: int | None
    usage: Usage | None
    team_id: str
    project_id: str


@dataclass(slots=True)
class Line:
    """What would change for one group of requests."""

    group: str
    requests: int = 0
    moved: int = 0
    refused_after: int = 0
    cost_before_nanos: int = 0
    cost_after_nanos: int = 0
    qualities_before: list[float] = field(default_factory=list)
    qualities_after: list[float] = field(default_factory=list)
    models_after: dict[str, int] = field(default_factory=dict)


class Resimulate:
    """Decides again."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def decide(self, past: Past, policy: Policy | None) -> Decision | None:
        """A past request decided again; None: the policy refuses it."""
        try:
            return self._router.decide(past.subject, past.seed, policy=policy)
        except TurnpikeError:
            return None

    def add(self, line: Line, past: Past, policy: Policy) -> None:
        """Counts one request into its group."""
        line.requests += 1
        line.cost_before_nanos += past.cost_nanos or 0
        decision = self.decide(past, policy)
        first = decision.first if decision is not None else None
        if decision is None or first is None:
            line.refused_after += 1
            return
        line.models_after[first.name] = line.models_after.get(first.name, 0) + 1
        line.moved += first.name != past.model
        line.cost_after_nanos += _cost(decision, past)
        for candidate in decision.question.board.candidates:
            quality = float(decision.expectation.quality[candidate.index])
            if math.isnan(quality):
                continue
            if candidate.name == past.model:
                line.qualities_before.append(quality)
            if candidate.index == first.index:
                line.qualities_after.append(quality)

    async def lines(
        self, decisions: AsyncIterator[Sequence[Past]], document: str, group_by: str
    ) -> tuple[list[Line], int]:
        """What would change, by group; and how many requests were looked at. Raises PolicyInvalid, InvalidRequest."""
        if group_by not in GROUPS:
            raise InvalidRequest.of("group_by", f"is one of {', '.join(filter(None, GROUPS))}, or empty")
        policy = checked(document)
        lines: dict[str, Line] = {}
        count = 0
        async for page in decisions:
            for past in page:
                if count == DECISIONS_MAX:
                    return _sorted(lines), count
                name = _group(past, group_by)
                self.add(lines.setdefault(name, Line(name)), past, policy)
                count += 1
        return _sorted(lines), count


def read_or_none(document: str) -> Policy | None:
    """The policy of a document; None of an empty one, which stands for the policy in force. Raises PolicyInvalid."""
    return checked(document) if document else None


def permit(admin: AdminCaller, organisation_id: str) -> str:
    """The organisation an admin may simulate for."""
    admin.require(AdminRole.ORGANISATION_ADMIN, AdminRole.VIEWER)
    return admin.organisation(organisation_id)


def _cost(decision: Decision, past: Past) -> int:
    """What the new choice would have cost: by what was really consumed where that is known, else as expected."""
    first = decision.first
    assert first is not None
    if first.name == past.model and past.cost_nanos is not None:
        return past.cost_nanos
    if past.usage is not None and first.price is not None:
        try:
            charged = charge_nanos(first.price, past.usage)
        except RateUnknown:
            charged = None
        if charged is not None:
            return charged
    return round(float(decision.cost_nanos[first.index]))


def _group(past: Past, group_by: str) -> str:
    return {
        "": "",
        "team": past.team_id,
        "project": past.project_id,
        "task": past.subject.task,
        "model": past.model,
    }[group_by]


def _sorted(lines: dict[str, Line]) -> list[Line]:
    return sorted(lines.values(), key=lambda line: -line.cost_before_nanos)
