"""Connections by origin: opens them, keeps idle ones for a while, bounds how many there are."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

from services.providers.adapters.http.connection import Connection, Origin
from services.providers.adapters.http.proxy import Proxy, ProxyRefused, open_tunnel

CONNECTIONS_MAX: Final = 8192
"""Of this process, busy and idle: twice the attempts of one Dispatch stream, below its file limit."""
KEEP_ALIVE_S: Final = {True: 15.0, False: 4.0}
"""Idle connections, with TLS and without, are kept shorter than the other side keeps them, so that a request is not
sent into a closing one: it would be charged in full. Vendors keep them for a minute or more; servers of one's own,
which speak http, often for five seconds (uvicorn, so vLLM)."""
MARGIN_S: Final = 1.0
"""Kept shorter by this than the other side says in its header keep-alive."""
SWEEP_EVERY_S: Final = 1.0
END_S_MAX: Final = 1.0
"""How long the end of an answer may take after all that was wanted of it; else its connection is closed."""
ADDRESSES_S: Final = 30.0
"""A host's addresses are asked for again after this, or as soon as none of them can be reached."""
HOSTS_KEPT: Final = 1024
NEXT_ADDRESS_AFTER_S: Final = 0.25
"""A second address is tried beside the first if that has not answered by then (RFC 8305)."""
NO_NAME: Final = "No connection to the vendor could be made: no host has such a name."


class NoConnection(Exception):
    """None could be opened; nothing was sent. `why` is for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TooManyConnections(Exception):
    """This process has as many as it may have, and all are in use."""


class Pool:
    """Connections of one process. Not shared between threads."""

    def __init__(
        self,
        certificates: ssl.SSLContext,
        *,
        connections_max: int = CONNECTIONS_MAX,
        proxy: Proxy | None = None,
    ) -> None:
        self._certificates = certificates
        self._proxy = proxy
        self._connections_max = connections_max
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._opening = 0
        self._addresses: dict[tuple[str, int], tuple[float, Sequence[AddrInfoType]]] = {}
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfoType]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.TimerHandle] = set()

    def idle(self, origin: Origin) -> Connection | None:
        """An open connection that nobody uses, the latest used first; None if there is none."""
        kept = self._idle.get(origin)
        if kept:
            now = asyncio.get_running_loop().time()
            while kept:
                connection = kept.pop()
                if connection.usable and now < connection.idle_until:
                    return connection
                connection.abort()
        return None

    async def open(self, origin: Origin, timeout_s: float) -> Connection:
        """A new one. Raises NoConnection, TooManyConnections, and TimeoutError after `timeout_s`."""
        if len(self._open) + self._opening >= self._connections_max and not self._close_an_idle_one():
            raise TooManyConnections
        self._opening += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connect(origin)
        finally:
            self._opening -= 1

    def give_back(self, connection: Connection) -> None:
        """Keeps it for the next request if it can be used again, else closes it."""
        kept_s, told_s = KEEP_ALIVE_S[connection.origin.tls], connection.kept_s
        if told_s is not None:
            kept_s = min(kept_s, told_s - MARGIN_S)
        if kept_s <= 0 or not connection.reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_until = loop.time() + kept_s
        self._idle.setdefault(connection.origin, deque()).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_EVERY_S, self._close_old_ones)

    def give_back_at_end(self, connection: Connection) -> None:
        """Keeps it once the little has come that may still come of its answer."""
        if connection.ended:
            self.give_back(connection)
            return
        late = asyncio.get_running_loop().call_later(END_S_MAX, connection.abort)
        self._ending.add(late)

        def ended(connection: Connection) -> None:
            late.cancel()
            self._ending.discard(late)
            self.give_back(connection)

        connection.when_ended(ended)

    def close(self) -> None:
        """Closes every connection."""
        for handle in (*self._ending, *([self._sweep] if self._sweep is not None else ())):
            handle.cancel()
        for task in self._lookups.values():
            task.cancel()
        for connection in list(self._open):
            connection.abort()

    async def reach(self, origin: Origin) -> socket.socket:
        """A socket that leads to `origin`, directly or through the proxy. Raises NoConnection."""
        if not _can_be_a_name(origin.host):
            raise NoConnection(NO_NAME)
        loop = asyncio.get_running_loop()
        proxy = self._proxy if self._proxy is not None and self._proxy.serves(origin) else None
        place = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        try:
            addresses = await self._addresses_of(place)
            opened = await start_connection(
                addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S, interleave=1, loop=loop
            )
        except (OSError, ValueError) as error:  # ValueError: no host has such a name
            self._addresses.pop(place, None)
            whom = "the vendor" if proxy is None else "the proxy of HTTPS_PROXY"
            raise NoConnection(f"No connection to {whom} could be made.") from error
        except asyncio.CancelledError:  # by its timeout, above all: none of them may be the host's any more
            self._addresses.pop(place, None)
            raise
        if proxy is not None:
            try:
                await open_tunnel(opened, origin, proxy)
            except ProxyRefused as refused:
                opened.close()
                raise NoConnection(str(refused)) from refused
            except ValueError as error:  # no host has such a name, so it cannot be told to the proxy
                opened.close()
                raise NoConnection(NO_NAME) from error
            except OSError as error:
                opened.close()
                raise NoConnection("The proxy broke the connection.") from error
            except asyncio.CancelledError:
                opened.close()
                raise
        return opened

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        opened = await self.reach(origin)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, connection = await loop.create_connection(
                lambda: Connection(origin, self._gone),
                sock=opened,
                ssl=self._certificates if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except OSError as error:  # ssl.SSLError is one, of which some are ValueErrors too
            opened.close()
            why = "The vendor's TLS certificate or handshake was not accepted." if origin.tls else ""
            raise NoConnection(why or "No connection to the vendor could be made.") from error
        except ValueError as error:  # by TLS, of a name that no host has
            opened.close()
            raise NoConnection(NO_NAME) from error
        except asyncio.CancelledError:
            opened.close()
            raise
        self._open.add(connection)
        return connection

    async def _addresses_of(self, place: tuple[str, int]) -> Sequence[AddrInfoType]:
        loop = asyncio.get_running_loop()
        known = self._addresses.get(place)
        if known is not None and loop.time() < known[0]:
            return known[1]
        asked = self._lookups.get(place)
        if asked is None:
            asked = self._lookups[place] = asyncio.create_task(_look_up(place))
            asked.add_done_callback(lambda _: self._lookups.pop(place, None))
        found = await asyncio.shield(asked)  # others may wait for it too
        if len(self._addresses) >= HOSTS_KEPT:
            self._addresses.clear()
        self._addresses[place] = (loop.time() + ADDRESSES_S, found)
        return found

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _close_old_ones(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for origin, kept in list(self._idle.items()):
            going_on: deque[Connection] = deque()
            for connection in kept:
                if connection.usable and now < connection.idle_until:
                    going_on.append(connection)
                else:
                    connection.abort()
            if going_on:
                self._idle[origin] = going_on
            else:
                del self._idle[origin]
        self._sweep = loop.call_later(SWEEP_EVERY_S, self._close_old_ones) if self._idle else None

    def _close_an_idle_one(self) -> bool:
        for kept in self._idle.values():
            while kept:
                connection = kept.popleft()
                if connection.usable:
                    connection.abort()
                    self._open.discard(connection)
                    return True
        return False


def _can_be_a_name(host: str) -> bool:
    """False for what no host is called. Asked before a socket is open: where TLS refuses a name at once, uvloop closes
    the socket's number, and Python closes the same number later, which may be another connection's by then.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return bool(host) and "\0" not in host


async def _look_up(place: tuple[str, int]) -> Sequence[AddrInfoType]:
    host, port = place
    return await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
