"""An answer in the messages of its form: as a run says it, and as it is written down to be given again."""

from typing import Generic, TypeVar

from services.router.use_cases.asking import Form, Piece, Write
from services.router.use_cases.generate import Run

Part = TypeVar("Part")


async def answered(run: Run, form: Form[Part], write: Write[Part]) -> Part:
    """The last message of the run's answer, once those before it are written."""

    async def say(piece: Piece) -> None:
        part = form.piece(run, piece)
        if part is not None:
            await write(part)

    return form.last(run, await run.answer(say))


async def nowhere(part: object) -> None:
    """Where a form that has but one message writes the others."""


class Collected(Generic[Part]):
    """Keeps the messages that are written, up to a size."""

    def __init__(self, form: Form[Part], write: Write[Part], *, bytes_max: int) -> None:
        self._form = form
        self._write = write
        self._bytes_left = bytes_max
        self._parts: list[bytes] = []

    async def write(self, part: Part) -> None:
        """Writes a message, and keeps it."""
        self._keep(part)
        await self._write(part)

    def with_last(self, last: Part) -> tuple[bytes, ...] | None:
        """The whole answer; None: it is too long to be kept."""
        self._keep(last)
        return tuple(self._parts) if self._bytes_left >= 0 else None

    def _keep(self, part: Part) -> None:
        if self._bytes_left >= 0:
            self._parts.append(self._form.encode(part))
            self._bytes_left -= len(self._parts[-1])
