"""Makes stored decisions again, beside the loop that serves requests: whoever repeats it slows nobody else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Self, TypeVar

from services.kernel.errors import NotFound
from services.router.domain.plan import Decision, decide
from services.router.ports import DecisionLog
from services.router.use_cases.callers import current_caller
from turnpike.router.v1 import decision_pb2

T = TypeVar("T")

AT_ONCE = 1
"""Replays that are under way: they are for people, and each takes the interpreter from requests now and then."""


class Replays:
    """Decides again. A context manager; when it ends nothing waits any more."""

    def __init__(self, log: DecisionLog) -> None:
        self._log = log
        self._beside = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="replay")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.shutdown(wait=False, cancel_futures=True)

    async def again(
        self, form: Callable[[decision_pb2.Decision, Decision], T], *, decision_id: str, request_id: str
    ) -> T:
        """What `form` makes of a decision as recorded and of the same made again, wherever it was made.

        Raises NotFound, and PreconditionFailed once what it was made from is kept no longer.
        """
        caller = current_caller()
        found = await self._log.replayable(
            caller.organisation_id, decision_id=decision_id, request_id=request_id
        )
        if found is None or found[0].principal.project_id != caller.project_id:
            raise NotFound("decision", decision_id or request_id)
        recorded, question = found

        def work() -> T:
            return form(recorded, decide(question()))

        return await asyncio.get_running_loop().run_in_executor(self._beside, copy_context().run, work)
