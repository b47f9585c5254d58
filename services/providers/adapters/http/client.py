"""Sends requests to vendors, each once, and says what went wrong and whether a byte had left by then.

Redirects are not followed (a base URL is an admin's decision, and a credential must not travel on), cookies are not
kept, and nothing is sent twice.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit

from services.providers.adapters.http.connection import Connection, ConnectionBroken, NotHttp, Origin
from services.providers.adapters.http.inflate import CorruptContent, Inflated
from services.providers.adapters.http.pool import NoConnection, Pool, TooManyConnections
from services.providers.adapters.http.proxy import Proxy
from services.providers.domain.failure import AttemptError, ChargeRule, Failure, Reason

USER_AGENT: Final = "turnpike"
URLS_KEPT: Final = 1024
"""Endpoints' addresses repeat from call to call; this many are kept taken apart."""
LOOK_S_MAX: Final = 2.0
NO_SUCH_ADDRESS: Final = "The endpoint's address is none: no host has such a name or port."

_OURS: Final = frozenset({"host", "content-length"})
_ADDRESS_LINES: Final = 3
_AS_IT_IS: Final = "!#$%&'()*+,/:;=?@[]~"


class VendorHttp:
    """A pool of connections. An async context manager; leaving it closes every connection."""

    def __init__(self, *, certificates: ssl.SSLContext | None = None, proxy: Proxy | None = None) -> None:
        """`certificates` replaces the system's trust, for private authorities. None: the system's.

        Vendors that speak https are reached through `proxy`, but for its exceptions. None: all directly.
        """
        self._pool = Pool(certificates or ssl.create_default_context(), proxy=proxy)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.close()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_timeout_s: float,
        leaving: Callable[[], None] = lambda: None,
    ) -> "Sending":
        """Sends a request; the block has its answer. Left before the answer's end, it closes the connection at once.

        `leaving` is called right before the first byte leaves. Raises AttemptError: VENDOR_UNREACHABLE,
        VENDOR_TIMEOUT(connect) or OVERLOADED when nothing was sent, with `nothing_sent`; VENDOR_ERROR when the
        connection broke after the request had left; VENDOR_PROTOCOL_ERROR for an answer that is no HTTP.
        """
        return Sending(self._pool, method, url, headers, body, connect_timeout_s, leaving)

    async def reachable(self, url: str) -> bool:
        """True if somebody accepts connections at `url` within LOOK_S_MAX. The vendor is sent nothing."""
        try:
            origin = _address(url).origin
            async with asyncio.timeout(LOOK_S_MAX):
                (await self._pool.reach(origin)).close()
        except (NoConnection, TimeoutError, ValueError):  # ValueError: no host has such a name or port
            return False
        return True


class Sending:
    """A request on its way, then its answer."""

    __slots__ = (
        "_body",
        "_connect_timeout_s",
        "_connection",
        "_given",
        "_inflated",
        "_leaving",
        "_method",
        "_pool",
        "_url",
        "headers",
        "satisfied",
        "status",
    )

    def __init__(
        self,
        pool: Pool,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        connect_timeout_s: float,
        leaving: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._method = method
        self._url = url
        self._given = headers
        self._body = body
        self._connect_timeout_s = connect_timeout_s
        self._leaving = leaving
        self._connection: Connection | None = None
        self._inflated: Inflated | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.satisfied = False
        """Set by the reader when it has all it wants, though the answer may not have ended."""

    async def __aenter__(self) -> Self:
        try:
            address = _address(self._url)
        except ValueError as error:
            raise AttemptError(
                Failure(Reason.ERROR_REASON_VENDOR_UNREACHABLE, NO_SUCH_ADDRESS, nothing_sent=True)
            ) from error
        head = _head(self._method, address, self._given, len(self._body))
        connection = self._pool.idle(address.origin)
        if connection is None:
            connection = await _opened(self._pool, address.origin, self._connect_timeout_s)
        self._connection = connection
        self._leaving()
        connection.ask(head, self._body)
        try:
            self.headers = await connection.answered()
            encoding = self.headers.get("content-encoding", "").strip().lower()
            if encoding not in ("", "identity"):
                self._inflated = Inflated(encoding, connection.read)
        except BaseException as error:
            connection.abort()
            if isinstance(error, Exception):
                raise _no_answer(error) from error
            raise
        self.status = connection.status
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection = self._connection
        assert connection is not None
        if connection.ended:
            self._pool.give_back(connection)
        elif self.satisfied and kind is None:
            self._pool.give_back_at_end(connection)
        else:
            connection.abort()

    @property
    def ended(self) -> bool:
        """True if all of it is here, so that reading will not wait."""
        return self._connection is not None and self._connection.ended

    async def read(self) -> bytes:
        """The bytes that are there, at least one; empty at the end. Raises AttemptError if the connection breaks."""
        assert self._connection is not None
        try:
            return await (self._connection if self._inflated is None else self._inflated).read()
        except (ConnectionBroken, NotHttp, CorruptContent) as error:
            raise _within_answer(error) from error


@dataclass(frozen=True, slots=True)
class _Address:
    origin: Origin
    path: str
    lines: str
    """The headers that every request to it has."""


@lru_cache(maxsize=URLS_KEPT)
def _address(url: str) -> _Address:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    port = parts.port or (443 if tls else 80)
    named = f"[{host}]" if ":" in host else host
    if parts.port is not None and parts.port != (443 if tls else 80):
        named = f"{named}:{parts.port}"
    path = quote(parts.path or "/", safe=_AS_IT_IS)
    if parts.query:
        path = f"{path}?{quote(parts.query, safe=_AS_IT_IS)}"
    return _Address(
        Origin(tls, host, port), path, f"host: {named}\r\nuser-agent: {USER_AGENT}\r\naccept: */*"
    )


def _head(method: str, address: _Address, headers: Mapping[str, str], length: int) -> bytes:
    lines = [
        f"{method} {address.path} HTTP/1.1",
        address.lines,
        f"content-length: {length}",
        *[f"{name}: {value}" for name, value in headers.items() if name not in _OURS],
        "\r\n",
    ]
    text = "\r\n".join(lines)
    ends = len(lines) + _ADDRESS_LINES - 1
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise _unsendable()
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise _unsendable() from None


async def _opened(pool: Pool, origin: Origin, timeout_s: float) -> Connection:
    try:
        return await pool.open(origin, timeout_s)
    except TimeoutError as error:
        raise AttemptError(
            Failure(
                Reason.ERROR_REASON_VENDOR_TIMEOUT,
                "No connection to the vendor could be made in time.",
                phase="connect",
                nothing_sent=True,
            )
        ) from error
    except NoConnection as error:
        raise AttemptError(
            Failure(Reason.ERROR_REASON_VENDOR_UNREACHABLE, error.why, nothing_sent=True)
        ) from error
    except TooManyConnections as error:
        raise AttemptError(
            Failure(
                Reason.ERROR_REASON_OVERLOADED,
                "This replica has as many connections to vendors as it may have.",
                charge=ChargeRule.CHARGE_RULE_NOTHING,
                nothing_sent=True,
            )
        ) from error


def _unsendable() -> AttemptError:
    return AttemptError(
        Failure(
            Reason.ERROR_REASON_CREDENTIAL_MISSING,
            "The credential, or another header, holds characters that no header can carry.",
            charge=ChargeRule.CHARGE_RULE_NOTHING,
            nothing_sent=True,
        )
    )


def _no_answer(error: Exception) -> AttemptError:
    if isinstance(error, NotHttp):
        return AttemptError(
            Failure(Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR, "The vendor's answer is not valid HTTP.")
        )
    if isinstance(error, CorruptContent):
        return _within_answer(error)
    return AttemptError(
        Failure(
            Reason.ERROR_REASON_VENDOR_ERROR,
            "The vendor closed the connection after the request had been sent, without an answer.",
        )
    )


def _within_answer(error: Exception) -> AttemptError:
    if isinstance(error, CorruptContent):
        return AttemptError(
            Failure(
                Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR, "The vendor's answer could not be decompressed."
            )
        )
    return AttemptError(
        Failure(
            Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED,
            "The connection to the vendor broke within its answer.",
        )
    )
