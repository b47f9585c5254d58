"""A project's cache of answers: exact, opt-in, honest. A hit costs nothing, calls nobody and says that it is one.

The key is everything that makes the answer: the content, the parameters, what the caller may use and the policies in
force, so that a change of any of them is a miss. Identical requests that come while the first is under way wait for it
rather than ask again. Answers live in this process alone, within a bound.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from services.kernel.clock import Clock

BYTES_MAX = 32 * 1024 * 1024
ANSWER_BYTES_MAX = 512 * 1024
"""Larger answers are not kept."""

OVERHEAD_BYTES = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given: its messages in order, and what it cost then."""

    parts: tuple[bytes, ...]
    cost_nanos: int | None


class Answers:
    """The cache."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Kept]] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[Hashable, asyncio.Future[bool]] = {}
        """True once there is an answer to give again."""

    async def find(self, key: Hashable) -> Kept | None:
        """The answer under `key`; waits for one that is under way. None: the caller is to answer, and then `done`.

        Where the one that was waited for is not kept, everybody asks at once rather than one after the other.
        """
        while True:
            kept = self._kept.get(key)
            if kept is not None:
                if kept[0] > self._clock.monotonic_s():
                    self._kept.move_to_end(key)
                    return kept[1]
                self._forget(key)
            under_way = self._under_way.get(key)
            if under_way is None:
                self._under_way[key] = asyncio.get_running_loop().create_future()
                return None
            if not await asyncio.shield(under_way):
                return None

    def done(self, key: Hashable, answer: Kept | None, ttl_s: float) -> None:
        """The answer to keep for `ttl_s` seconds; None: there is none, and whoever waits asks for itself."""
        if answer is not None:
            if key in self._kept:
                self._forget(key)
            self._kept[key] = (self._clock.monotonic_s() + ttl_s, answer)
            self._bytes += _size(answer)
            while self._bytes > BYTES_MAX:
                self._forget(next(iter(self._kept)))
        under_way = self._under_way.pop(key, None)
        if under_way is not None:
            under_way.set_result(answer is not None)

    def _forget(self, key: Hashable) -> None:
        _, answer = self._kept.pop(key)
        self._bytes -= _size(answer)


def _size(answer: Kept) -> int:
    return OVERHEAD_BYTES + sum(map(len, answer.parts))
