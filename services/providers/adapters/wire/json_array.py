"""A stream that is one JSON array: its objects, one by one, from bytes that may be split anywhere."""

import re
from typing import Final

from services.providers.adapters.wire.sse import LINE_BYTES_MAX, Event, LineTooLong

_MARKS: Final = re.compile(rb'["\\{}]')


class ArrayDecoder:
    """The array's objects as events without a name. What stands between them is passed over."""

    __slots__ = ("_buffer", "_depth", "_in_text", "_scanned", "_start")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._start = 0
        self._depth = 0
        self._in_text = False

    def feed(self, data: bytes) -> list[Event]:
        """The objects that `data` completes. Raises LineTooLong for one that grows beyond every bound."""
        events: list[Event] = []
        self._buffer += data
        position = self._scanned
        while match := _MARKS.search(self._buffer, position):
            mark, position = match[0], match.end()
            if self._in_text:
                if mark == b"\\":
                    if position == len(self._buffer):  # what it escapes has not come yet
                        position -= 1
                        break
                    position += 1
                elif mark == b'"':
                    self._in_text = False
            elif mark == b'"':
                self._in_text = True
            elif mark == b"{":
                if self._depth == 0:
                    self._start = match.start()
                self._depth += 1
            elif mark == b"}" and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    events.append(Event("", bytes(self._buffer[self._start : position])))
                    del self._buffer[:position]
                    position = 0
        else:
            position = len(self._buffer)
        self._scanned = position
        if len(self._buffer) > LINE_BYTES_MAX:
            raise LineTooLong(len(self._buffer))
        return events

    def flush(self) -> list[Event]:
        """What an ending stream leaves: nothing, for an object without its end is none."""
        return []
