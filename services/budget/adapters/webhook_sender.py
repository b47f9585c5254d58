"""Posts to addresses that users gave, without letting them reach what is not theirs to reach.

Only https, no redirects, no proxy of ours, a bounded time, and the answer's body is not read. The name is resolved
here, and the connection goes to the address that was checked: a name that resolves to the inside of our network, now or
at the next look, is refused like the address itself.
"""

import asyncio
import ipaddress
import socket
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

TIMEOUT_S = 10.0
CONNECTIONS_MAX = 20

# Ranges that lead to an IPv4 address inside of an IPv6 one.
_TUNNELS = tuple(
    ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class AddressRefused(OSError):
    """The address is none of the public internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in tunnel for tunnel in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class _PublicResolver(AbstractResolver):
    """Resolves names to public addresses alone."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, address in found:
            text = str(address[0])
            if is_public(text):
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=text,
                        port=port,
                        family=kind,
                        proto=protocol,
                        flags=socket.AI_NUMERICHOST,
                    )
                )
        if not results:
            raise AddressRefused(f"{host} has no public address")
        return results

    async def close(self) -> None:
        """Nothing to close."""


class WebhookSender:
    """Sends over one pool of connections. `trusted_hosts` are let through unchecked: an operator's own receivers."""

    def __init__(self, trusted_hosts: frozenset[str] = frozenset()) -> None:
        self._trusted = trusted_hosts
        self._session: aiohttp.ClientSession | None = None
        self._trusted_session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "WebhookSender":
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)

        def session(**connector: Any) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, force_close=True, **connector),
                timeout=timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"user-agent": "turnpike-webhook/1"},
            )

        self._session = session(resolver=_PublicResolver(), use_dns_cache=False)
        self._trusted_session = session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session in (self._session, self._trusted_session):
            if session is not None:
                await session.close()

    async def send(self, url: str, body: bytes, headers: dict[str, str]) -> str | None:
        """None if the receiver answered 2xx; else why not, for the log."""
        assert self._session is not None, "it is used inside its block"
        assert self._trusted_session is not None, "it is used inside its block"
        parts = urlsplit(url)
        trusted = parts.netloc in self._trusted
        if not trusted and not _may_be_asked(parts.scheme, parts.hostname):
            return "the address is refused"
        session = self._trusted_session if trusted else self._session
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            return type(failure).__name__


def _may_be_asked(scheme: str, host: str | None) -> bool:
    if scheme != "https" or not host:
        return False
    try:
        return is_public(host)  # a literal address is never resolved, so it is checked here
    except ValueError:
        return True
