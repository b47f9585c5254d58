"""The one way to a vendor: pooled HTTP over aiohttp, cut at once when the attempt ends early.

Redirects are never followed (a base URL is an admin's decision, and a credential must not travel on), cookies are not
kept, proxies of the environment are not used, and nothing is sent twice.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from services.providers.domain.failure import AttemptError, Failure, Reason
from services.providers.ports import Exchange

CONNECTIONS_MAX: Final = 4096
"""Of this process to all vendors together, and as many to servers by plain http: above the 2,000 streams that a replica
is built for, below its file limit."""
KEEP_ALIVE_S: Final = {"https": 15.0, "http": 4.0}
"""Idle connections are kept shorter than the other side keeps them, so that a request is not sent into a closing one:
it would be charged in full. Vendors keep them for a minute or more; servers of one's own, which speak http, often for
five seconds (uvicorn, so vLLM)."""
READ_BUFFER_BYTES: Final = 1 << 16
"""Per stream: a slow reader stops the vendor's TCP window when this is full."""
DNS_CACHE_S: Final = 30
DRAIN_S_MAX: Final = 1.0
DRAIN_BYTES_MAX: Final = 1 << 14
"""After a stream's last event only the end of the HTTP body should follow; whoever sends more loses the connection."""
LOOK_S_MAX: Final = 2.0
HEADER_BYTES_MAX: Final = 1 << 16


class VendorHttp:
    """A pool of connections. An async context manager; leaving it closes every connection."""

    def __init__(self, *, certificates: ssl.SSLContext | None = None) -> None:
        """`certificates` replaces the system's trust, for private authorities. None: the system's."""
        self._certificates = certificates or ssl.create_default_context()
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._draining: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for scheme, keep_alive_s in KEEP_ALIVE_S.items():
            self._sessions[scheme] = self._session(keep_alive_s)
        return self

    def _session(self, keep_alive_s: float) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            limit_per_host=0,
            keepalive_timeout=keep_alive_s,
            ttl_dns_cache=DNS_CACHE_S,
            ssl=self._certificates,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=True,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            # Every wait is bounded by the attempt, which knows what is being waited for.
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"user-agent": "turnpike"},
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._draining:
            task.cancel()
        for session in self._sessions.values():
            await session.close()

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, connect_timeout_s: float
    ) -> AsyncIterator[Exchange]:
        """Sends a request; the block has its answer. Left before the answer's end, it closes the connection at once.

        Raises AttemptError: VENDOR_UNREACHABLE or VENDOR_TIMEOUT(connect) when nothing was sent, with
        `nothing_sent`; VENDOR_ERROR when the connection broke after the request had left.
        """
        session = self._sessions["http" if url.startswith("http:") else "https"]
        try:
            response = await session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=_timeout(connect_timeout_s),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _before_answer(error) from error
        exchange = _AiohttpExchange(response)
        try:
            yield exchange
        finally:
            if exchange.at_end:
                response.release()
            elif exchange.satisfied:
                self._drain_later(response)
            else:
                response.close()

    def _drain_later(self, response: aiohttp.ClientResponse) -> None:
        """Reads what little follows the end of a stream, so that its connection can be used again."""
        task = asyncio.create_task(_drain(response))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)


class _AiohttpExchange:
    """An answer under way."""

    __slots__ = ("_response", "at_end", "headers", "satisfied", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers  # finds names in any case
        self.at_end = False
        self.satisfied = False
        """Set by the reader when it has all it wants, though the answer may not have ended."""

    async def read(self) -> bytes:
        """The bytes that are there, at least one; empty at the end. Raises AttemptError if the connection breaks."""
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            raise _within_answer(error) from error
        if not data:
            self.at_end = True
        return data


@lru_cache(maxsize=64)
def _timeout(connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s)


async def reachable(url: str) -> bool:
    """True if somebody accepts connections at `url` within LOOK_S_MAX. Sends nothing."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(LOOK_S_MAX):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(DRAIN_S_MAX):
            left = DRAIN_BYTES_MAX
            while left > 0 and (data := await response.content.readany()):
                left -= len(data)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        pass
    finally:
        if response.content.at_eof():
            response.release()
        else:
            response.close()


def _before_answer(error: Exception) -> AttemptError:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return AttemptError(
                Failure(
                    Reason.ERROR_REASON_VENDOR_TIMEOUT,
                    "No connection to the vendor could be made in time.",
                    phase="connect",
                    nothing_sent=True,
                )
            )
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return AttemptError(
                Failure(
                    Reason.ERROR_REASON_VENDOR_UNREACHABLE,
                    "The vendor's TLS certificate or handshake was not accepted.",
                    nothing_sent=True,
                )
            )
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL():
            return AttemptError(
                Failure(
                    Reason.ERROR_REASON_VENDOR_UNREACHABLE,
                    "No connection to the vendor could be made.",
                    nothing_sent=True,
                )
            )
        case aiohttp.ClientResponseError():
            return AttemptError(
                Failure(Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR, "The vendor's answer is not valid HTTP.")
            )
        case _:
            return AttemptError(
                Failure(
                    Reason.ERROR_REASON_VENDOR_ERROR,
                    "The vendor closed the connection after the request had been sent, without an answer.",
                )
            )


def _within_answer(error: Exception) -> AttemptError:
    if isinstance(error.__cause__, ContentEncodingError) or isinstance(
        error, ContentEncodingError | ValueError
    ):
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
