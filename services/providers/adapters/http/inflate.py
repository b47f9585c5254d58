"""Reads compressed answers a piece at a time: a small answer cannot become a huge one in memory."""

import zlib
from collections.abc import Awaitable, Callable
from typing import Final

PIECE_BYTES: Final = 1 << 18
"""The most that is inflated at a time. How much there may be in all is for the reader to say."""

_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
_RAW: Final = -zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8


class CorruptContent(Exception):
    """What came is not compressed as its headers say, or breaks off."""


class Inflated:
    """What `read` gives, without its compression."""

    __slots__ = ("_begun", "_inflater", "_left", "_more", "_read")

    def __init__(self, encoding: str, read: Callable[[], Awaitable[bytes]]) -> None:
        """`encoding` is the header content-encoding. Raises CorruptContent for one that was not offered."""
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise CorruptContent(encoding)
        self._read = read
        self._inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._begun = False
        self._left = b""
        self._more = False

    async def read(self) -> bytes:
        """At least one byte; empty at the end. Raises CorruptContent and what reading raises."""
        while True:
            while self._left or self._more:
                piece = self._inflate()
                if piece:
                    return piece
            data = await self._read()
            if not data:
                if self._begun and not self._inflater.eof:
                    raise CorruptContent("it breaks off")
                return b""
            if not self._begun:
                self._begin(data)
            self._left = data

    def _begin(self, data: bytes) -> None:
        self._begun = True
        if data[0] != 0x1F and data[0] & 0x0F != _ZLIB_METHOD:
            self._inflater = zlib.decompressobj(_RAW)  # what some call deflate

    def _inflate(self) -> bytes:
        if self._inflater.eof:  # gzip allows several, one after the other; some pad the last one with zeros
            self._left = self._left.lstrip(b"\0")
            if not self._left:
                return b""
            self._inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            piece = self._inflater.decompress(self._left, PIECE_BYTES)
        except zlib.error as error:
            raise CorruptContent(str(error)) from error
        if self._inflater.eof:
            self._left, self._more = self._inflater.unused_data, False
        else:
            self._left, self._more = self._inflater.unconsumed_tail, len(piece) == PIECE_BYTES
        return piece
