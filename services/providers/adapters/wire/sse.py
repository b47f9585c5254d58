"""Server-sent events from bytes that may be split anywhere."""

from dataclasses import dataclass
from typing import Final

from services.providers.adapters.wire.body import BYTE_ORDER_MARK, decode

LINE_BYTES_MAX: Final = 8 << 20
"""The longest line that is kept. Inline images come in single lines of a few megabytes; ten would be abuse."""


@dataclass(slots=True)
class LineTooLong(Exception):
    """A line, or the lines of one event, above LINE_BYTES_MAX."""

    seen_bytes: int

    def __str__(self) -> str:
        return f"a line or an event of the stream is longer than {LINE_BYTES_MAX} bytes"


class LineDecoder:
    r"""Cuts a byte stream into lines. Ends of lines are \n, \r\n and \r; a trailing \r waits for what follows it.

    Bytes, not text: a character that is split over two reads is whole again within its line.
    """

    __slots__ = ("_pieces", "_pieces_bytes", "_swallow_newline")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._swallow_newline = False

    @property
    def idle(self) -> bool:
        """True if nothing of an unfinished line is kept."""
        return not self._pieces and not self._swallow_newline

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. Raises LineTooLong."""
        if self._swallow_newline and data:
            self._swallow_newline = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._swallow_newline = data[-1:] == b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n")
        if end < 0:
            if data:
                self._keep(data)
            return []
        lines = data[:end].split(b"\n")
        if self._pieces:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces.clear()
            self._pieces_bytes = 0
        if end + 1 < len(data):
            self._keep(data[end + 1 :])
        return lines

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._pieces_bytes += len(data)
        if self._pieces_bytes > LINE_BYTES_MAX:
            raise LineTooLong(self._pieces_bytes)

    def flush(self) -> bytes:
        """The last line, if the stream ended without ending it."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._pieces_bytes = 0
        return rest


@dataclass(slots=True)
class Event:
    """One event. `name` is empty where the stream names none."""

    name: str
    data: bytes


def _is_whole(data: bytes) -> bool:
    if data.strip() == b"[DONE]":
        return True
    try:
        decode(data)
    except ValueError:
        return False
    return True


class SseDecoder:
    """Events from bytes. Comments, ids, retry hints, byte order marks and events without data are passed over."""

    __slots__ = ("_data", "_data_bytes", "_lines", "_name")

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises LineTooLong."""
        if data.startswith(b"data: {") and data.count(b"\n") == 2 and self._lines.idle and not self._data:
            # Perhaps one whole event in one read, as vendors send their tokens.
            returns = data.count(b"\r")
            if (not returns and data.endswith(b"\n\n")) or (returns == 2 and data.endswith(b"\r\n\r\n")):
                name, self._name = self._name, ""
                return [Event(name, data[6 : -2 - returns])]
        return self._events(self._lines.feed(data))

    def flush(self) -> list[Event]:
        """What an ending stream leaves: the last event, even if the blank line after it never came.

        One that broke off within its JSON is left out: such a stream is truncated, and not wrong.
        """
        rest = self._lines.flush()
        return [event for event in self._events([rest, b""] if rest else [b""]) if _is_whole(event.data)]

    def _events(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    if data.strip():
                        events.append(Event(self._name, data))
                    self._data = []
                    self._data_bytes = 0
                self._name = ""
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._data_bytes += len(line)
                if self._data_bytes > LINE_BYTES_MAX:
                    raise LineTooLong(self._data_bytes)
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            elif line.startswith(b"error:"):  # a field of its own with older llama.cpp servers
                self._name = "error"
                self._data.append(line[6:].lstrip())
            elif line.startswith(BYTE_ORDER_MARK):
                events += self._events([line[len(BYTE_ORDER_MARK) :]])
        return events
