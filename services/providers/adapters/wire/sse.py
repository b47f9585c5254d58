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
        """The lines that `data` completes, without their ends.

        Raises LineTooLong; if lines came before the one that is too long, they are given, and the next call raises it.
        """
        if self._pieces_bytes > LINE_BYTES_MAX:
            raise LineTooLong(self._pieces_bytes)
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
                if self._pieces_bytes > LINE_BYTES_MAX:
                    raise LineTooLong(self._pieces_bytes)
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

    def flush(self) -> bytes:
        """The last line, if the stream ended without ending it. One that is too long broke off, and is left out."""
        rest = b"" if self._pieces_bytes > LINE_BYTES_MAX else b"".join(self._pieces)
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
    """Events from bytes. Comments, ids, retry hints and events without data are passed over, as is a byte order mark
    before the first line.
    """

    __slots__ = ("_begun", "_data", "_data_bytes", "_lines", "_name", "_too_long")

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._begun = False
        self._too_long: LineTooLong | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises LineTooLong; if events came before what is too long, they are given, and the next call raises it.
        """
        if self._too_long is not None:
            raise self._too_long
        if data.startswith(b"data: {") and data.count(b"\n") == 2 and self._lines.idle and not self._data:
            # Perhaps one whole event in one read, as vendors send their tokens.
            returns = data.count(b"\r")
            if (not returns and data.endswith(b"\n\n")) or (returns == 2 and data.endswith(b"\r\n\r\n")):
                name, self._name = self._name, ""
                self._begun = True
                return [Event(name, data[6 : -2 - returns])]
        events: list[Event] = []
        try:
            self._events(self._lines.feed(data), events)
        except LineTooLong as error:
            self._too_long = error
            if not events:
                raise
        return events

    def flush(self) -> list[Event]:
        """What an ending stream leaves: the last event, even if the blank line after it never came.

        One that broke off within its JSON is left out, as is one that is too long: such a stream is truncated, and
        not wrong.
        """
        rest = self._lines.flush()
        if self._too_long is not None:
            return []
        events: list[Event] = []
        try:
            self._events([rest, b""] if rest else [b""], events)
        except LineTooLong:
            return []
        return [event for event in events if _is_whole(event.data)]

    def _events(self, lines: list[bytes], events: list[Event]) -> None:
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
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
                self._take_data(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            elif line.startswith(b"error:"):  # a field of its own with older llama.cpp servers
                self._name = "error"
                self._take_data(line[6:].lstrip())

    def _take_data(self, data: bytes) -> None:
        self._data.append(data)
        self._data_bytes += len(data) + 6  # with the name of its field: many lines of nothing are long too
        if self._data_bytes > LINE_BYTES_MAX:
            raise LineTooLong(self._data_bytes)
