"""One HTTP/1.1 connection, one exchange at a time: a request out, its answer in.

It knows nothing of vendors and waits for nothing but bytes: times are the business of whoever waits.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

import httptools

HEAD_BYTES_MAX: Final = 1 << 16
"""Of an answer's status line and headers, and of what may come in a row that is no content: chunk sizes, trailers."""
BUFFER_BYTES: Final = 1 << 16
"""Of an answer that nobody has read yet: beyond it the socket is not read, and TCP holds the vendor back."""
JOINED_BYTES_MAX: Final = 1 << 16
"""A body up to this leaves with its head in one write; a larger one is not copied for that."""
SURPLUS_BYTES_MAX: Final = 1 << 14
"""After a stream's last event only the end of the HTTP body should follow; whoever sends more loses the connection."""


_TIMEOUT: Final = re.compile(r"\btimeout=(\d{1,9})\b", re.IGNORECASE)


class Origin(NamedTuple):
    """Where a connection leads."""

    tls: bool
    host: str
    port: int


class ConnectionBroken(Exception):
    """The connection ended before the answer did."""


class NotHttp(Exception):
    """What came is no answer in HTTP/1."""


class Connection(asyncio.Protocol):
    """A connection in use or idle. `gone` is told once when it is closed, by whomever."""

    __slots__ = (
        "_asked",
        "_barren_bytes",
        "_body",
        "_buffered",
        "_delimited",
        "_error",
        "_goes_on",
        "_gone",
        "_head_bytes",
        "_headers",
        "_informational",
        "_on_end",
        "_parser",
        "_paused",
        "_surplus_bytes",
        "_transport",
        "_untidy",
        "_waiter",
        "ended",
        "idle_until",
        "origin",
        "status",
    )

    def __init__(self, origin: Origin, gone: Callable[["Connection"], None]) -> None:
        self.origin = origin
        self.idle_until = 0.0
        """While it is idle: when it is closed, by the loop's clock."""
        self.status = 0
        """Of the answer under way; 0 until its head has come."""
        self.ended = True
        """True once the answer under way has come to its end, and while there is none."""
        self._gone = gone
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_end: Callable[[Connection], None] | None = None
        self._error: Exception | None = None
        self._paused = False
        self._untidy = False  # more came than was asked for: not to be used again
        self._reset()
        self._asked = False

    def _reset(self) -> None:
        self._asked = True
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._buffered = 0
        self._head_bytes = 0
        self._surplus_bytes = 0
        self._barren_bytes = 0
        self._informational = False
        self._delimited = False
        self._goes_on = False

    # What the pool and the client ask of it.

    @property
    def usable(self) -> bool:
        """True if it is open and idle, so that a request may be sent on it."""
        transport = self._transport
        return (
            self.ended
            and not self._untidy
            and self._error is None
            and transport is not None
            and not transport.is_closing()
        )

    @property
    def reusable(self) -> bool:
        """True if the answer has ended and both sides mean to go on."""
        return (
            self.usable
            and self._goes_on
            and self._transport is not None
            and not self._transport.get_write_buffer_size()  # answered before it had heard all
        )

    @property
    def kept_s(self) -> float | None:
        """How long the other side keeps it, by its last answer. None: it did not say."""
        told = _TIMEOUT.search(self._headers.get("keep-alive", ""))
        return float(told[1]) if told else None

    def ask(self, head: bytes, body: bytes) -> None:
        """Sends a request; never waits. What cannot leave at once is kept until it can."""
        assert self._transport is not None
        self._reset()
        self.status, self.ended = 0, False
        if len(body) <= JOINED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def answered(self) -> Mapping[str, str]:
        """The headers of the answer, names in lower case. Raises ConnectionBroken, NotHttp."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()
        return self._headers

    async def read(self) -> bytes:
        """The bytes that are there, at least one; empty at the end. Raises ConnectionBroken, NotHttp."""
        body = self._body
        while not body:
            if self.ended:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._buffered = 0
        self._resume()
        return data

    def when_ended(self, then: Callable[["Connection"], None]) -> None:
        """Passes over what follows, and calls `then` once the answer has ended or the connection is closed."""
        self._body.clear()
        if self.ended or self._error is not None:
            then(self)
            return
        self._on_end = then
        self._resume()

    def abort(self) -> None:
        """Closes at once; the vendor notices."""
        if self._transport is not None:
            self._transport.abort()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    async def _wait(self) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        await waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or not self._asked or self.ended:
            self._fail(NotHttp("bytes came that nobody had asked for"))
            return
        buffered = self._buffered
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(NotHttp(str(error)))
            return
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._fail(NotHttp("the head of the answer is too long"))
            return
        if self._buffered > buffered:
            self._barren_bytes = 0
        elif not self.ended:
            self._barren_bytes += len(data)
            if self._barren_bytes > HEAD_BYTES_MAX:
                self._fail(NotHttp("a trailer, or the line of a chunk's size, is too long"))
                return
        if self._on_end is not None:
            self._pass_over(len(data))
        elif self._buffered > BUFFER_BYTES and not self._paused and not self.ended:
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _pass_over(self, size: int) -> None:
        self._body.clear()
        self._surplus_bytes += size
        if self.ended:
            self._tell_end()
        elif self._surplus_bytes > SURPLUS_BYTES_MAX:
            self._untidy = True
            self._tell_end()

    def _tell_end(self) -> None:
        then, self._on_end = self._on_end, None
        if then is not None:
            then(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended:
            if error is None and self.status and not self._delimited and self._error is None:
                self.ended = True  # its length was not told: where the connection ends, it ends
                self._untidy = True
            elif self._error is None:
                self._error = ConnectionBroken()
        self._transport = None
        self._parser = None  # it holds this object, and this it
        self._gone(self)
        self._tell_end()
        self._wake()

    # llhttp calls these, from within feed_data.

    def on_message_begin(self) -> None:
        if self.ended:
            self._untidy = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer says nothing that is wanted
        header = name.decode("latin-1").lower()
        # The first of a name counts; but however often and in whatever case the length is told, it is told.
        self._headers.setdefault(header, value.decode("latin-1"))
        if header == "content-length" or (header == "transfer-encoding" and b"chunked" in value.lower()):
            self._delimited = True

    def on_headers_complete(self) -> None:
        if self._untidy or self._parser is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._informational = True
            self._headers = {}
            self._delimited = False
            return
        self.status = status

    def on_body(self, data: bytes) -> None:
        if not self._untidy:
            self._body.append(data)
            self._buffered += len(data)

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
        elif self._parser is not None:
            self.ended = True
            self._goes_on = self._parser.should_keep_alive()  # later it no longer knows
