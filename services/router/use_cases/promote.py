"""An operator puts a trained prior in force, or an earlier one again: what is checked, what is kept, what follows."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.access import AdminCaller
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest, NotFound
from services.router.admin_ports import PriorStore
from services.router.domain.administered import SHIPPED_PRIOR, Change, StoredPrior
from services.router.domain.features import Features
from services.router.domain.learning.prior import PriorError
from services.router.domain.learning.promotion import Said, held_against, told_by
from services.router.domain.task_belief import likeliest
from services.router.domain.trained import TrainedExpectations
from services.router.domain.world import EVERYBODY, World
from services.router.use_cases.feedback import Lesson

ASKED = Features(0, 0)
"""Stands for any request: qualities depend on the task alone."""


class Newest(Protocol):
    """What applications said of answers."""

    async def newest(self) -> Sequence[Lesson]:
        """The newest lessons under any prior. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a promotion."""

    promoted: bool
    passed: bool
    findings: tuple[str, ...]
    checked: str
    """Version of the file that was looked at; empty: none was brought."""
    in_force: str


class Promote:
    """The use case of PromotePrior."""

    def __init__(
        self,
        store: PriorStore,
        lessons: Newest,
        world: World,
        clock: Clock,
        read: Callable[[bytes], TrainedExpectations],
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        """`read` raises PriorError; `refresh` brings the prior in force into this replica's memory at once."""
        self._store = store
        self._lessons = lessons
        self._world = world
        self._clock = clock
        self._read = read
        self._refresh = refresh

    async def check(self, admin: AdminCaller, content: bytes) -> Finding:
        """Looks whether a prior might be put in force, and changes nothing."""
        admin.require()
        candidate, passed, findings = await self._judged(content)
        return Finding(False, passed, findings, candidate, await self._store.prior_version())

    async def promote(self, admin: AdminCaller, content: bytes, change: Change) -> Finding:
        """Puts a prior in force on every replica, if nothing is found against it."""
        admin.require()
        candidate, passed, findings = await self._judged(content)
        if not passed:
            return Finding(False, False, findings, candidate, await self._store.prior_version())
        prior = StoredPrior(candidate, findings, change.admin_token_id, change.at)
        await self._put(prior, content, change)
        return Finding(True, True, findings, candidate, candidate)

    async def put_back(self, admin: AdminCaller, version: str, change: Change) -> Finding:
        """Puts one in force that was before, or the shipped one."""
        admin.require()
        findings = ("it comes with the router",) if version == SHIPPED_PRIOR else ("it was in force before",)
        await self._put(StoredPrior(version, findings, change.admin_token_id, change.at), None, change)
        return Finding(True, True, findings, "", version)

    async def _put(self, prior: StoredPrior, content: bytes | None, change: Change) -> None:
        async with self._store.changing(change) as changing:
            if changing.answered is not None:
                return
            if (
                content is None
                and prior.version != SHIPPED_PRIOR
                and await changing.prior(prior.version) is None
            ):
                raise NotFound("prior", prior.version)
            before = await changing.prior(await changing.prior_in_force())
            await changing.put_prior(prior, content, before)
        await self._refresh()

    async def _judged(self, content: bytes) -> tuple[str, bool, tuple[str, ...]]:
        """The version of a file, whether it may be used, and why."""
        try:
            candidate = self._read(content)
        except PriorError as error:
            raise InvalidRequest.of("prior", str(error)) from None
        trained = told_by(candidate.prior)
        since = held_against(self._said(candidate, await self._lessons.newest()))
        reasons = (*(since.reasons if not since.promoted else ()), *trained.reasons)
        if since.promoted:
            reasons = (*reasons, *since.reasons)
        return candidate.content_version, trained.promoted and since.promoted, reasons

    def _said(self, candidate: TrainedExpectations, lessons: Sequence[Lesson]) -> list[Said]:
        """Lessons beside what the candidate expects of the same models at the same tasks."""
        board = self._world.board(EVERYBODY, self._clock.now().timestamp())
        places = {name: index for index, name in enumerate(board.model_names)}
        found = []
        for lesson in lessons:
            place = places.get(lesson.model)
            if place is None or not lesson.belief:
                continue
            task = likeliest(lesson.belief)
            expected = float(candidate.expect(board, {task: 1.0}, ASKED).quality[place])
            if expected == expected:  # NaN: it promises nothing
                found.append(Said(lesson.model, task, expected, lesson.verdict.outcome))
        return found
