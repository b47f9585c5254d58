"""What the HTTP client sends, keeps and closes: back-pressure, cancellation, trust, bounds."""

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest

from services.providers.adapters.http import pool
from services.providers.adapters.http.client import VendorHttp
from services.providers.adapters.http.pool import Pool
from services.providers.domain.failure import AttemptError
from services.providers.use_cases.bodies import read_answer
from tests.support.http_exchanges import BODY, WHOLE, ask, failure, saying, soon, vendor_and_client
from tests.support.raw_vendor import Connection, Request, raw_vendor
from tests.support.self_signed import self_signed
from turnpike.common.v1 import error_pb2

Reason = error_pb2.ErrorReason
PROMPTLY_S = 1.0
"""Far above what it takes (some milliseconds), for a machine that is busy, and far below any wait of ours."""


async def test_a_reader_who_does_not_read_stops_the_vendor() -> None:
    written = 0

    async def flood(request: Request, connection: Connection) -> None:
        nonlocal written
        await connection.begin_stream()
        for _ in range(4096):
            await connection.chunk(b"x" * 65536)
            written += 65536

    async with vendor_and_client(flood) as (vendor, http):
        url = f"{vendor.base_url}/flood"
        async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
            await exchange.read()
            before = -1
            while before != written:  # until the vendor could write no more for a while
                before = written
                await asyncio.sleep(0.2)
            assert written < 64 << 20, "the kernel's buffers hold some megabytes, and we next to nothing"


async def test_leaving_the_block_or_cancelling_closes_at_once() -> None:
    async def endless(request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(b"data: one\n\n")
        await connection.until_closed()

    async with vendor_and_client(endless) as (vendor, http):
        url = f"{vendor.base_url}/stream"

        async def listen(first: asyncio.Event) -> None:
            async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
                await exchange.read()
                first.set()
                await exchange.read()

        first = asyncio.Event()
        listening = asyncio.create_task(listen(first))
        await first.wait()
        begun = time.monotonic()
        listening.cancel()
        await soon(lambda: vendor.open_connections == 0)
        assert time.monotonic() - begun < PROMPTLY_S
        async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
            await exchange.read()
        begun = time.monotonic()
        await soon(lambda: vendor.open_connections == 0)
        assert time.monotonic() - begun < PROMPTLY_S


async def test_the_end_of_a_stream_is_waited_for_beside_the_next_request() -> None:
    async def dawdle(request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(b"data: [DONE]\n\n")
        await asyncio.sleep(0.05)
        await connection.end_stream()

    async with vendor_and_client(dawdle) as (vendor, http):
        for _ in range(3):
            url = f"{vendor.base_url}/stream"
            async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
                await exchange.read()
                exchange.satisfied = True
            await soon(lambda: any(http._pool._idle.values()))
    assert vendor.connections == 1


async def test_who_goes_on_after_the_end_of_a_stream_loses_the_connection() -> None:
    async def babble(request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(b"data: [DONE]\n\n")
        while True:
            await connection.chunk(b"and another thing " * 1000)
            await asyncio.sleep(0.001)

    async with vendor_and_client(babble) as (vendor, http):
        url = f"{vendor.base_url}/stream"
        async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
            await exchange.read()
            exchange.satisfied = True
        await soon(lambda: vendor.open_connections == 0)


async def test_an_answer_before_the_end_of_the_request_is_read_and_its_connection_dropped() -> None:
    body = b"x" * (20 << 20)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, VendorHttp() as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with http.send("POST", url, {}, body, connect_timeout_s=2.0) as exchange:
            assert (exchange.status, await exchange.read()) == (413, b"{}")
        assert not http._pool._idle


async def test_a_large_request_arrives_whole() -> None:
    body = bytes(range(256)) * 80_000  # 20 MB

    async with vendor_and_client(saying(WHOLE)) as (vendor, http):
        await ask(vendor, http, body)
        await ask(vendor, http, b"{}")
    assert [request.body for request in vendor.requests] == [body, b"{}"]
    assert vendor.connections == 1


async def test_what_leaves_is_what_was_given_with_a_host_and_a_length() -> None:
    async with vendor_and_client(saying(WHOLE)) as (vendor, http):
        url = f"{vendor.base_url}/v1/models/a%2Fb:generate?alt=sse&x=ü z"
        headers = {"x-api-key": "secret", "content-type": "application/json"}
        async with http.send("POST", url, headers, b"{}", connect_timeout_s=2.0) as exchange:
            await exchange.read()
    (request,) = vendor.requests
    assert request.path == "/v1/models/a%2Fb:generate?alt=sse&x=%C3%BC%20z"
    assert request.headers == {
        **headers,
        "host": vendor.address,
        "user-agent": "turnpike",
        "accept": "*/*",
        "content-length": "2",
    }


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b", "schlüssel\u4f60"])
async def test_a_header_that_cannot_be_one_is_refused_before_anything_leaves(value: str) -> None:
    async with vendor_and_client(saying(WHOLE)) as (vendor, http):
        assert await failure(vendor, http, authorization=value) == ("ERROR_REASON_CREDENTIAL_MISSING", True)
    assert vendor.connections == 0


async def test_it_is_told_right_before_the_first_byte_leaves_and_not_otherwise() -> None:
    told: list[int] = []
    async with vendor_and_client(saying(WHOLE)) as (vendor, http):

        def leaving() -> None:
            told.append(len(vendor.requests))

        sending = http.send("POST", f"{vendor.base_url}/", {}, b"{}", connect_timeout_s=2.0, leaving=leaving)
        async with sending as exchange:
            await exchange.read()
        assert told == [0]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
            with pytest.raises(AttemptError):
                async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0, leaving=leaving):
                    pass
        assert told == [0]


async def test_certificates_are_verified_by_name_and_trust(tmp_path: Path) -> None:
    context, file = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=str(file))
    async with raw_vendor(saying(WHOLE), tls=context) as vendor:
        port = vendor.address.rpartition(":")[2]
        for name, certificates in (("localhost", None), ("127.0.0.1", trusting)):
            async with VendorHttp(certificates=certificates) as http:
                with pytest.raises(AttemptError) as caught:
                    async with http.send("POST", f"https://{name}:{port}/", {}, b"{}", connect_timeout_s=2.0):
                        pass
            assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_UNREACHABLE
            assert caught.value.failure.nothing_sent
        assert vendor.requests == []
        async with VendorHttp(certificates=trusting) as http:
            for _ in range(2):
                url = f"https://localhost:{port}/"
                async with http.send("POST", url, {}, b"x" * (1 << 20), connect_timeout_s=2.0) as exchange:
                    assert await read_answer(exchange, 1 << 20) == BODY
        assert [len(request.body) for request in vendor.requests] == [1 << 20, 1 << 20]


async def test_a_name_that_is_nobodys_costs_nothing() -> None:
    async with VendorHttp() as http:
        with pytest.raises(AttemptError) as caught:
            async with http.send("POST", "https://nobody.invalid/v1", {}, b"{}", connect_timeout_s=5.0):
                pass
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_UNREACHABLE
    assert caught.value.failure.nothing_sent


async def test_idle_connections_are_closed_after_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_S", {False: 0.05, True: 0.05})
    monkeypatch.setattr(pool, "SWEEP_EVERY_S", 0.02)
    async with vendor_and_client(saying(WHOLE)) as (vendor, http):
        await ask(vendor, http)
        await soon(lambda: vendor.open_connections == 0)
        assert not http._pool._idle


@pytest.mark.parametrize(("header", "connections"), [("timeout=60, max=100", 1), ("timeout=1", 2)])
async def test_what_the_vendor_says_of_idle_connections_counts(header: str, connections: int) -> None:
    told = WHOLE.replace(b"\r\n", f"\r\nkeep-alive: {header}\r\n".encode(), 1)
    async with vendor_and_client(saying(told)) as (vendor, http):
        for _ in range(2):
            await ask(vendor, http)
    assert vendor.connections == connections


async def test_connections_are_bounded_and_idle_ones_give_way() -> None:
    async with vendor_and_client(saying(WHOLE)) as (vendor, http), raw_vendor(saying(WHOLE)) as other:
        http._pool = Pool(http._pool._certificates, connections_max=2)
        held = []
        for _ in range(2):
            sending = http.send("POST", f"{vendor.base_url}/", {}, b"{}", connect_timeout_s=2.0)
            held.append((sending, await sending.__aenter__()))
        assert await failure(other, http) == ("ERROR_REASON_OVERLOADED", True)
        for sending, exchange in held:
            await exchange.read()
            await sending.__aexit__(None, None, None)
        assert (await ask(other, http))[2] == BODY


@pytest.mark.parametrize("place", ["http://127.0.0.1:99999", "http://a..com", f"http://{'a' * 64}.com"])
async def test_an_address_that_is_none_is_unreachable(place: str) -> None:
    async with VendorHttp() as http:
        with pytest.raises(AttemptError) as caught:
            async with http.send("POST", f"{place}/v1", {}, b"{}", connect_timeout_s=2.0):
                pass
        assert not await http.reachable(place)
    said = caught.value.failure
    assert (said.reason, said.nothing_sent) == (Reason.ERROR_REASON_VENDOR_UNREACHABLE, True)
