"""The proxy of a deployment's network, for vendors that cannot be reached but through it.

By CONNECT alone: the proxy learns whom we speak to, and TLS is between us and the vendor as without it. What speaks
plain http is in the deployment's own network and is reached directly.
"""

import asyncio
import base64
import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from services.providers.adapters.http.connection import Origin

ANSWER_BYTES_MAX: Final = 1 << 14
"""Of a proxy's answer to CONNECT; some bring a page with their refusal, of which the first line says enough."""
PORT_DEFAULT: Final = 80

_NO_PROXY: Final = (
    "must be http://host:port of a proxy that knows CONNECT, perhaps with user:password@ before the host, in which"
    " characters such as # / ? @ : are written as %23 and the like; other kinds are not supported"
)

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


class ProxyRefused(Exception):
    """The proxy opened no tunnel. The message is for people."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is, and whom it is not asked for."""

    host: str
    port: int
    authorisation: str = field(default="", repr=False)
    """Header proxy-authorization. Empty: it wants none."""
    exceptions: tuple[str, ...] = ()
    """As in NO_PROXY: names with all that is below them, addresses, networks, each perhaps with a port; `*` is all."""

    @classmethod
    def parse(cls, url: str, exceptions: str = "") -> Self:
        """A proxy as HTTPS_PROXY and NO_PROXY say it.

        Raises ValueError for another scheme than http, and for what is no address; its words hold nothing of the url.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or PORT_DEFAULT
        except ValueError:  # quotes what it stumbled over, which may be the password
            raise ValueError(_NO_PROXY) from None
        # A password with a bare # or ? ends the address early: another host would be asked, with half of it.
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or "?" in url or "#" in url:
            raise ValueError(_NO_PROXY)
        authorisation = ""
        if parts.username is not None:
            said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorisation = f"Basic {base64.b64encode(said.encode()).decode()}"
        names = (name.strip().lower() for name in exceptions.split(","))
        return cls(parts.hostname, port, authorisation, tuple(name for name in names if name))

    def serves(self, origin: Origin) -> bool:
        """True if `origin` is reached through it."""
        if not origin.tls or origin.host == "localhost" or origin.host.endswith(".localhost"):
            return False
        address = _address(origin.host)
        if address is not None and address.is_loopback:
            return False
        return not any(_names(exception, origin, address) for exception in self.exceptions)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _names(exception: str, origin: Origin, address: IPv4Address | IPv6Address | None) -> bool:
    if exception == "*":
        return True
    if address is not None:
        try:
            return address in ip_network(exception, strict=False)
        except ValueError:
            pass  # a name, or an address with a port
    host, colon, port = exception.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        host, port = exception, ""
    if port and int(port) != origin.port:
        return False
    host = host.strip("[]").removeprefix("*").lstrip(".")
    return origin.host == host or (address is None and origin.host.endswith(f".{host}"))


async def open_tunnel(connected: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Has the proxy at the other end of `connected` open a tunnel to `origin`; what follows is the vendor's.

    Raises ProxyRefused and OSError. How long it may take is for the caller to say.
    """
    loop = asyncio.get_running_loop()
    place = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"host: {place}"]
    if proxy.authorisation:
        lines.append(f"proxy-authorization: {proxy.authorisation}")
    await loop.sock_sendall(connected, ("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < ANSWER_BYTES_MAX:
        piece = await loop.sock_recv(connected, 4096)
        if not piece:
            break
        answer += piece
    status = _STATUS.match(answer)
    if status is None:
        raise ProxyRefused("The proxy's answer is no HTTP.")
    if status[1] == b"407":
        raise ProxyRefused("The proxy wants another user or password than HTTPS_PROXY has.")
    if not status[1].startswith(b"2"):
        raise ProxyRefused(f"The proxy refused a tunnel to the vendor, by status {status[1].decode()}.")
    if not answer.endswith(b"\r\n\r\n") or answer.count(b"\r\n\r\n") != 1:
        raise ProxyRefused("The proxy's answer does not end where the tunnel begins.")
