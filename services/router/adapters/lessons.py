"""Keeps lessons in Postgres, and lets this replica learn what others were told within a second."""

import asyncio
import json
from collections.abc import Sequence

import asyncpg
import structlog

from services.chassis.postgres import Database
from services.kernel.errors import RequestIdReused, StoreUnavailable
from services.router.use_cases.feedback import Learn, Lesson, Verdict

REMEMBERED_AT_START = 20_000
"""Verdicts that a replica learns from when it starts; older ones have faded from the evidence anyway."""

ROWS_MAX = 1_000
LOOK_EVERY_S = 0.8

log = structlog.get_logger()


class PostgresLessons:
    """The `Lessons` port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, feedback_id: str, content_hash: bytes, decision_id: str, lesson: Lesson) -> None:
        queries = self._database.queries
        async with self._database.transaction() as connection:
            await connection.execute(queries["lock_feedback"])
            known = await connection.fetchval(queries["find_feedback"], lesson.organisation_id, feedback_id)
            if known is not None:
                if known != content_hash:
                    raise RequestIdReused(feedback_id)
                return
            await connection.execute(
                queries["add_feedback"],
                lesson.organisation_id,
                feedback_id,
                content_hash,
                decision_id,
                lesson.model,
                json.dumps(dict(lesson.belief)),
                lesson.expected,
                lesson.verdict.outcome,
                lesson.verdict.weight,
                lesson.prior,
            )

    async def after(self, sequence: int, prior: str) -> tuple[int, Sequence[Lesson]]:
        queries = self._database.queries
        if sequence < 0:
            newest = await self._database.fetchval(queries["last_feedback"], REMEMBERED_AT_START, prior)
            sequence = int(newest)
        lessons: list[Lesson] = []
        while True:
            rows = await self._database.fetch(queries["feedback_after"], sequence, ROWS_MAX, prior)
            lessons += [_lesson(row) for row in rows]
            if rows:
                sequence = rows[-1]["sequence"]
            if len(rows) < ROWS_MAX:
                return sequence, lessons

    async def newest(self) -> Sequence[Lesson]:
        rows = await self._database.fetch(self._database.queries["newest_feedback"], REMEMBERED_AT_START)
        return [_lesson(row) for row in rows]


def _lesson(row: asyncpg.Record) -> Lesson:
    verdict = Verdict(row["outcome"], row["weight"])
    belief = json.loads(row["belief"])
    return Lesson(row["organisation_id"], row["model"], belief, row["expected"], verdict, row["prior"])


async def keep_learning(learn: Learn) -> None:
    """Learns for ever, until it is cancelled; while Postgres is away what was learned stays in force."""
    while True:
        try:
            await learn.catch_up()
        except StoreUnavailable:
            log.warning("nothing learned", store="postgres")
        await asyncio.sleep(LOOK_EVERY_S)
