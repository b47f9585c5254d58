"""Bodies of vendors' answers: read within bounds, told from streams, read once more."""

from collections.abc import Callable, Mapping
from typing import Final

from services.providers.domain.failure import unreadable
from services.providers.ports import Exchange

RESPONSE_BYTES_MAX: Final = 64 << 20
"""Of a whole answer after decompression: a few large pictures."""
ERROR_BYTES_MAX: Final = 1 << 20
"""Of an error's body; the rest is not read."""


class Whole:
    """An answer that has been read already, to be read again."""

    status = 200
    ended = True

    def __init__(self, headers: Mapping[str, str], body: bytes) -> None:
        self.headers = headers
        self.satisfied = False
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body


def is_stream(body: bytes) -> bool:
    """True for a stream that is labelled as JSON: Gemini's array, events, or lines of JSON behind some proxies."""
    return (
        body[:64].removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"[", b"data:", b"event:", b":"))
        or b"}\n{" in body
    )


async def read_answer(
    exchange: Exchange, at_most: int, *, cut: bool = False, arrived: Callable[[bytes], None] | None = None
) -> bytes:
    """The rest of an answer. Above `at_most` bytes: the first of them if `cut`, else an error.

    `arrived` hears of each piece as it comes.
    """
    pieces: list[bytes] = []
    size = 0
    while data := await exchange.read():
        pieces.append(data)
        size += len(data)
        if arrived is not None:
            arrived(data)
        if size > at_most:
            if cut:
                break
            raise unreadable(f"The vendor's answer is longer than {at_most} bytes.")
    return b"".join(pieces)[:at_most]
