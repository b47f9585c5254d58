"""Vendors behind the proxy of a deployment's network."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.chassis.settings import SettingsInvalid, load
from services.providers.adapters.http.client import VendorHttp
from services.providers.adapters.http.connection import Origin
from services.providers.adapters.http.proxy import ANSWER_BYTES_MAX, Proxy
from services.providers.domain.failure import AttemptError
from services.providers.settings import ProvidersSettings
from tests.support.http_exchanges import BODY, WHOLE, saying, soon
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.self_signed import self_signed
from turnpike.common.v1 import error_pb2

VENDOR = "vendor.test"
"""No resolver knows it: who reaches it, reached it through the proxy."""


class Tunnels:
    """A proxy that leads everybody to one port, whatever they ask for."""

    def __init__(self, port: int, answer: bytes) -> None:
        self._port = port
        self._answer = answer
        self.heads: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        if b" 200 " in self._answer:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


@asynccontextmanager
async def behind(
    folder: Path, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n", user: str = ""
) -> AsyncIterator[tuple[RawVendor, Tunnels, VendorHttp]]:
    """A vendor, the proxy before it, and a client that is told of the proxy."""
    serves, certificate = self_signed(folder, VENDOR)
    async with raw_vendor(saying(WHOLE), tls=serves) as vendor:
        tunnels = Tunnels(int(vendor.address.rpartition(":")[2]), answer)
        server = await asyncio.start_server(tunnels.serve, "127.0.0.1", 0)
        async with server:
            tunnels.url = f"http://{user}127.0.0.1:{server.sockets[0].getsockname()[1]}"
            proxy = Proxy.parse(tunnels.url, "localhost")
            async with VendorHttp(
                certificates=ssl.create_default_context(cafile=str(certificate)), proxy=proxy
            ) as http:
                yield vendor, tunnels, http


async def asked(http: VendorHttp) -> bytes:
    async with http.send("POST", f"https://{VENDOR}/v1", {}, b"{}", connect_timeout_s=5.0) as exchange:
        return await exchange.read()


async def test_a_vendor_is_reached_through_the_proxy_and_its_connection_kept(tmp_path: Path) -> None:
    async with behind(tmp_path, user="me:pass%20word@") as (vendor, tunnels, http):
        for _ in range(3):
            assert await asked(http) == BODY
        assert await http.reachable(f"https://{VENDOR}/v1")
        await soon(lambda: len(tunnels.heads) == 2)
    assert (vendor.requests[0].headers["host"], len(vendor.requests)) == (VENDOR, 3)
    lines = tunnels.heads[0].split(b"\r\n")
    assert lines[:3] == [
        b"CONNECT vendor.test:443 HTTP/1.1",
        b"host: vendor.test:443",
        b"proxy-authorization: Basic bWU6cGFzcyB3b3Jk",
    ]
    assert b"authorization" not in b"".join(repr(request.headers).encode() for request in vendor.requests)


REFUSALS = {
    "wants another password": (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "user or password"),
    "forbids": (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno!\n", "status 403"),
    "speaks before the vendor": (b"HTTP/1.1 200 OK\r\n\r\nwelcome", "does not end"),
    "speaks no HTTP": (b"\x05\x00", "no HTTP"),
    "never ends": (b"HTTP/1.1 200 OK\r\nx: " + b"x" * ANSWER_BYTES_MAX, "does not end"),
    "says nothing": (b"", "no HTTP"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_proxy_that_opens_no_tunnel_is_an_unreachable_vendor(tmp_path: Path, name: str) -> None:
    answer, why = REFUSALS[name]
    async with behind(tmp_path, answer) as (vendor, _, http):
        with pytest.raises(AttemptError) as caught:
            await asked(http)
        said = caught.value.failure
        assert (said.reason, said.nothing_sent) == (
            error_pb2.ErrorReason.ERROR_REASON_VENDOR_UNREACHABLE,
            True,
        )
        assert why in said.message
        assert not await http.reachable(f"https://{VENDOR}/v1")
    assert not vendor.requests


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.test", ".test"])
async def test_a_vendor_whose_name_no_host_has_is_unreachable(tmp_path: Path, host: str) -> None:
    async with behind(tmp_path) as (_, tunnels, http):
        with pytest.raises(AttemptError) as caught:
            async with http.send("POST", f"https://{host}/v1", {}, b"{}", connect_timeout_s=5.0):
                pass
        assert not await http.reachable(f"https://{host}/v1")
    assert not tunnels.heads, "nothing was opened that could be left open"
    said = caught.value.failure
    assert (said.reason, said.nothing_sent) == (
        error_pb2.ErrorReason.ERROR_REASON_VENDOR_UNREACHABLE,
        True,
    )


EXCEPTIONS = [
    ("", "api.openai.com", True),
    ("*", "api.openai.com", False),
    ("openai.com", "api.openai.com", False),
    (".openai.com", "api.openai.com", False),
    ("*.openai.com", "api.openai.com", False),
    ("notopenai.com, openai.com.example", "api.openai.com", True),
    ("api.openai.com:443", "api.openai.com", False),
    ("api.openai.com:8443", "api.openai.com", True),
    ("10.0.0.0/8", "10.1.2.3", False),
    ("10.0.0.0/8", "11.1.2.3", True),
    ("10.1.2.3:443", "10.1.2.3", False),
    ("1.2.3", "4.1.2.3", True),
    ("2001:db8::/32", "2001:db8::7", False),
    ("[2001:db8::7]:443", "2001:db8::7", False),
    ("", "127.0.0.1", False),
    ("", "::1", False),
    ("", "localhost", False),
]


@pytest.mark.parametrize(("exceptions", "host", "serves"), EXCEPTIONS)
def test_whom_the_proxy_is_not_asked_for(exceptions: str, host: str, serves: bool) -> None:
    proxy = Proxy.parse("http://proxy.example:3128", exceptions)
    assert proxy.serves(Origin(True, host, 443)) is serves
    assert not proxy.serves(Origin(False, host, 443))


@pytest.mark.parametrize(
    "url", ["socks5://proxy:1080", "https://proxy:3128", "proxy:3128", "http://proxy:99999"]
)
def test_other_proxies_are_refused_before_the_start(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="HTTPS_PROXY"):
        load(ProvidersSettings, {"HTTPS_PROXY": url, "TURNPIKE_SERVICE_TOKENS": "router=tps_x"})


@pytest.mark.parametrize(
    "url",
    [
        "http://me:pa#quux@proxy:3128",
        "http://me:pa?quux@proxy:3128",
        "http://me:pa/quux@proxy:3128",
        "http://me:12#quux@proxy:3128",
        "http://me:12?quux@proxy:3128",
        "http://me:pa\u2100quux@proxy:3128",
        "http://me:pa[quux@proxy:3128",
        "http://proxy:pa-quux",
        "http://proxy:3128#",
        "http://proxy:3128/?pa=quux",
    ],
)
def test_a_wrong_proxy_is_refused_without_a_part_of_its_password(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="HTTPS_PROXY") as caught:
        load(ProvidersSettings, {"HTTPS_PROXY": url, "TURNPIKE_SERVICE_TOKENS": "router=tps_x"})
    said = str(caught.value)
    assert not any(part in said for part in ("quux", "pa#", "pa?", "me:p", "\u2100"))
    with pytest.raises(ValueError, match="must be http://host:port") as own:
        Proxy.parse(url)
    assert own.value.__cause__ is None
    assert own.value.__context__ is None or own.value.__suppress_context__


def test_a_proxys_password_is_not_shown() -> None:
    settings = load(
        ProvidersSettings,
        {"HTTPS_PROXY": "http://me:secret@proxy:3128", "TURNPIKE_SERVICE_TOKENS": "router=tps_x"},
    )
    assert "secret" not in repr(settings)
    assert settings.proxy is not None
    assert "secret" not in repr(Proxy.parse(settings.proxy))
