"""Takes what applications say of answers and learns from it: the same on every replica, each organisation apart."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.kernel.errors import InvalidRequest, NotFound
from services.router.domain.estimates import Estimator
from services.router.domain.learned import EstimatorBook
from services.router.domain.learning.evidence import Evidence, Feedback
from services.router.domain.task_belief import TASKS
from services.router.ports import DecisionLog
from services.router.use_cases.callers import current_caller
from turnpike.router.v1.decision_pb2 import Estimates

RETRIED_OUTCOME, RETRIED_WEIGHT = 0.2, 0.5
"""That somebody asked again is a weak sign: the first answer may have been fine and the question not."""

EDITED_WEIGHT = 0.8
VERDICT_WEIGHT = 1.0

ORGANISATIONS_MAX = 10_000
"""Organisations whose evidence is in memory, 30 KB each at fifty models; the one that learned longest ago leaves."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of an answer, as an outcome of 0 to 1 and how much it says."""

    outcome: float
    weight: float

    @classmethod
    def rating(cls, rating: float) -> "Verdict":
        """A rating of 0 to 1."""
        return cls(rating, VERDICT_WEIGHT)

    @classmethod
    def edited(cls, share: float) -> "Verdict":
        """The share that a person changed."""
        return cls(1.0 - share, EDITED_WEIGHT)

    @classmethod
    def validated(cls, passed: bool) -> "Verdict":
        """A check that passed or failed."""
        return cls(1.0 if passed else 0.0, VERDICT_WEIGHT)

    @classmethod
    def retried(cls) -> "Verdict":
        """Somebody asked again."""
        return cls(RETRIED_OUTCOME, RETRIED_WEIGHT)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A verdict with what was expected; what there is to learn."""

    organisation_id: str
    model: str
    belief: Mapping[str, float]
    expected: float
    """Before any outcome was learned from."""
    verdict: Verdict
    prior: str
    """Version of what expected it: the lesson is a surprise against that alone."""


class Lessons(Protocol):
    """Where lessons are kept, in order. Raises StoreUnavailable."""

    async def add(self, feedback_id: str, content_hash: bytes, decision_id: str, lesson: Lesson) -> None:
        """Keeps a lesson once. Raises RequestIdReused if its id was used for another."""
        ...

    async def after(self, sequence: int, prior: str) -> tuple[int, Sequence[Lesson]]:
        """Lessons under a prior after a sequence, and the sequence of the last one.

        Below 0: those worth remembering at a start.
        """
        ...

    async def newest(self) -> Sequence[Lesson]:
        """The newest lessons under any prior."""
        ...


class Learn:
    """Learns."""

    def __init__(self, lessons: Lessons, log: DecisionLog, book: EstimatorBook) -> None:
        self._lessons = lessons
        self._log = log
        self._book = book
        self._evidence: OrderedDict[str, tuple[Evidence, int]] = OrderedDict()
        self._sequence = -1
        self._learning = asyncio.Lock()

    async def submit(self, feedback_id: str, content_hash: bytes, decision_id: str, verdict: Verdict) -> None:
        """Takes a verdict on a decision's answer. Raises NotFound, InvalidRequest, RequestIdReused."""
        caller = current_caller()
        decision = await self._log.find(caller.organisation_id, decision_id=decision_id)
        if decision is None or decision.principal.project_id != caller.project_id:
            raise NotFound("decision", decision_id)
        answered = [attempt for attempt in decision.attempts if not attempt.failure]
        if not answered:
            raise InvalidRequest.of("decision_id", "names a request that no model answered")
        model = answered[-1].model
        expected = next(
            (
                _shipped(candidate.estimates)
                for candidate in decision.candidates
                if candidate.model == model and candidate.estimates.HasField("quality")
            ),
            verdict.outcome,  # nothing was expected, so nothing is a surprise
        )
        belief = {task.task: task.probability for task in decision.task_belief}
        prior = decision.versions.prior.partition("+")[0]
        lesson = Lesson(caller.organisation_id, model, belief, expected, verdict, prior)
        await self._lessons.add(feedback_id, content_hash, decision_id, lesson)
        await self.catch_up()

    async def restart(self, shipped: Estimator) -> None:
        """Learns anew, against another prior than before; while the store is away decisions are made by it alone."""
        async with self._learning:
            self._book.ship(shipped)
            self._evidence.clear()
            self._sequence = -1
            await self._catch_up()

    async def catch_up(self) -> None:
        """Learns what was added since, here or elsewhere."""
        async with self._learning:  # two at once would learn the same twice
            await self._catch_up()

    async def _catch_up(self) -> None:
        last, lessons = await self._lessons.after(self._sequence, self._book.shipped.version)
        if not lessons:
            self._sequence = last
            return
        changed = set()
        for lesson in lessons:
            evidence, outcomes = self._evidence.get(lesson.organisation_id, (None, 0))
            evidence = evidence or Evidence(TASKS)
            evidence.update(
                Feedback(
                    lesson.model,
                    lesson.belief,
                    lesson.expected,
                    lesson.verdict.outcome,
                    lesson.verdict.weight,
                )
            )
            self._evidence[lesson.organisation_id] = (evidence, outcomes + 1)
            self._evidence.move_to_end(lesson.organisation_id)
            changed.add(lesson.organisation_id)
        while len(self._evidence) > ORGANISATIONS_MAX:
            self._evidence.popitem(last=False)
        for organisation_id in changed & self._evidence.keys():
            evidence, outcomes = self._evidence[organisation_id]
            self._book.take(organisation_id, evidence, outcomes)
        self._sequence = last


def _shipped(estimates: Estimates) -> float:
    """What was expected before any outcome was learned from: what outcomes are a surprise against."""
    return estimates.shipped_quality if estimates.HasField("shipped_quality") else estimates.quality
