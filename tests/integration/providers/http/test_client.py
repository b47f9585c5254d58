"""The HTTP client against vendors on raw sockets: what it sends, what it reads, what it keeps and what it closes."""

import asyncio
import gzip
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.providers.adapters.http import connection, inflate, pool
from services.providers.adapters.http.client import VendorHttp
from services.providers.adapters.http.pool import Pool
from services.providers.domain.failure import AttemptError
from services.providers.use_cases.attempt import read_answer
from tests.support.raw_vendor import Connection, RawVendor, Request, Script, raw_vendor
from tests.support.self_signed import self_signed
from turnpike.common.v1 import error_pb2

Reason = error_pb2.ErrorReason
BODY = b'{"said": "hello"}'
LENGTH = f"content-length: {len(BODY)}\r\n".encode()


@asynccontextmanager
async def vendor_and_client(script: Script) -> AsyncIterator[tuple[RawVendor, VendorHttp]]:
    async with raw_vendor(script) as vendor, VendorHttp() as http:
        yield vendor, http


async def ask(
    vendor: RawVendor, http: VendorHttp, body: bytes = b"{}", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one whole answer."""
    url = f"{vendor.base_url}/v1/chat"
    async with http.send("POST", url, headers or {}, body, connect_timeout_s=2.0) as exchange:
        return exchange.status, dict(exchange.headers), await read_answer(exchange, 1 << 30)


async def failure(vendor: RawVendor, http: VendorHttp, **headers: str) -> tuple[str, bool]:
    """The reason of one that failed, and whether certainly nothing was sent."""
    with pytest.raises(AttemptError) as caught:
        await ask(vendor, http, headers=headers)
    return Reason.Name(caught.value.failure.reason), caught.value.failure.nothing_sent


async def soon(true: Callable[[], bool], at_most_s: float = 2.0) -> None:
    async with asyncio.timeout(at_most_s):
        while not true():
            await asyncio.sleep(0.001)


def saying(answer: bytes, *, then_close: bool = False) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.write(answer)
        if then_close:
            connection.writer.close()

    return script


WHOLE = b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"8;extension=1\r\n" + BODY[:8] + b"\r\n9\r\n" + BODY[8:] + b"\r\n0\r\nx-trailer: late\r\n\r\n"
)
READABLE = {
    "with its length": WHOLE,
    "in chunks, with an extension and a trailer": CHUNKED,
    "after early hints and a continue": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    + WHOLE,
    "with names in any case": b"HTTP/1.1 200 Fine\r\nContent-LENGTH: 17\r\nX-Request-Id:  abc \r\n\r\n"
    + BODY,
    "without a reason": b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\n" + BODY,
}


@pytest.mark.parametrize("name", READABLE)
async def test_answers_are_read_and_their_connections_kept(name: str) -> None:
    async with vendor_and_client(saying(READABLE[name])) as (vendor, http):
        for _ in range(3):
            status, headers, body = await ask(vendor, http)
            assert (status, body) == (200, BODY)
            assert all(name == name.lower() for name in headers)
    assert vendor.connections == 1


CLOSED_AFTER = {
    "the vendor says close": b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + LENGTH + b"\r\n" + BODY,
    "it speaks HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "it ends where the connection ends": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "more came than was asked for": WHOLE + WHOLE,
}


@pytest.mark.parametrize("name", CLOSED_AFTER)
async def test_connections_that_cannot_go_on_are_not_used_again(name: str) -> None:
    async with vendor_and_client(saying(CLOSED_AFTER[name], then_close="ends" in name)) as (vendor, http):
        for number in (1, 2):
            status, _, body = await ask(vendor, http)
            assert (status, body) == (200, BODY)
            assert vendor.connections == number


async def test_an_answer_split_at_every_byte_is_the_same() -> None:
    async def trickle(request: Request, connection: Connection) -> None:
        for byte in CHUNKED:
            await connection.write(bytes([byte]))
            await asyncio.sleep(0)

    async with vendor_and_client(trickle) as (vendor, http):
        assert (await ask(vendor, http))[2] == BODY


NO_HTTP = {
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nx: " + b"x" * (connection.HEAD_BYTES_MAX + 4096),
    "a length that is none": b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody",
    "a length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
async def test_what_is_no_http_is_a_protocol_error_and_closes(name: str) -> None:
    async with vendor_and_client(saying(NO_HTTP[name])) as (vendor, http):
        assert await failure(vendor, http) == ("ERROR_REASON_VENDOR_PROTOCOL_ERROR", False)
        await soon(lambda: vendor.open_connections == 0)


CUT = {
    "before the answer": (b"", "VENDOR_ERROR"),
    "in the head": (b"HTTP/1.1 200 OK\r\ncontent-le", "VENDOR_ERROR"),
    "in a body of known length": (
        b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + BODY[:5],
        "VENDOR_STREAM_TRUNCATED",
    ),
    "in a chunk": (CHUNKED[:70], "VENDOR_STREAM_TRUNCATED"),
    "between chunks": (CHUNKED[: CHUNKED.index(b"0\r\nx-trailer")], "VENDOR_STREAM_TRUNCATED"),
}


@pytest.mark.parametrize("name", CUT)
async def test_a_connection_cut_within_an_answer_is_told_from_its_end(name: str) -> None:
    answer, reason = CUT[name]
    async with vendor_and_client(saying(answer, then_close=True)) as (vendor, http):
        assert await failure(vendor, http) == (f"ERROR_REASON_{reason}", False)


async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    async def speak_again(request: Request, connection: Connection) -> None:
        await connection.write(WHOLE)
        await asyncio.sleep(0.05)
        await connection.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    async with vendor_and_client(speak_again) as (vendor, http):
        await ask(vendor, http)
        await soon(lambda: vendor.open_connections == 0)
        assert (await ask(vendor, http))[2] == BODY
    assert vendor.connections == 2


TEXT = b'{"text": "' + b"all work and no play " * 40_000 + b'"}'


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip in two members": ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate without its head": ("deflate", raw_deflate(TEXT)),
    "in capitals": ("GZIP", gzip.compress(TEXT)),
    "identity": ("identity", TEXT),
}


@pytest.mark.parametrize("name", PACKED)
async def test_compressed_answers_are_inflated(name: str) -> None:
    encoding, packed = PACKED[name]

    async def script(request: Request, connection: Connection) -> None:
        await connection.answer(packed, content_encoding=encoding)

    async with vendor_and_client(script) as (vendor, http):
        assert (await ask(vendor, http))[2] == TEXT


@pytest.mark.parametrize(
    "packed", [gzip.compress(TEXT)[:-20], b"\x1f\x8b nonsense", b""], ids=["cut", "broken", "none"]
)
async def test_an_answer_that_cannot_be_inflated_is_a_protocol_error(packed: bytes) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.answer(packed, content_encoding="gzip")

    async with vendor_and_client(script) as (vendor, http):
        if packed:
            assert (await failure(vendor, http))[0] == "ERROR_REASON_VENDOR_PROTOCOL_ERROR"
        else:
            assert (await ask(vendor, http))[2] == b""


async def test_an_encoding_that_was_not_offered_is_a_protocol_error() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.answer(b"\x0b\x00\x80x\x03", content_encoding="br")

    async with vendor_and_client(script) as (vendor, http):
        assert (await failure(vendor, http))[0] == "ERROR_REASON_VENDOR_PROTOCOL_ERROR"


async def test_a_bomb_is_inflated_a_piece_at_a_time_and_refused_above_the_bound() -> None:
    bomb = gzip.compress(b"\0" * (256 << 20), compresslevel=9)
    largest = 0

    async def script(request: Request, connection: Connection) -> None:
        await connection.answer(bomb, content_encoding="gzip")

    async with vendor_and_client(script) as (vendor, http):
        url = f"{vendor.base_url}/bomb"
        with pytest.raises(AttemptError) as caught:
            async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
                read = exchange.read

                async def watched() -> bytes:
                    nonlocal largest
                    piece = await read()
                    largest = max(largest, len(piece))
                    return piece

                await read_answer(_Read(watched), 8 << 20)
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR
    assert 0 < largest <= inflate.PIECE_BYTES


class _Read:
    """An exchange of which only reading is wanted."""

    status = 200
    headers: Mapping[str, str] = {}
    satisfied = False
    ended = False

    def __init__(self, read: Callable[[], Coroutine[Any, Any, bytes]]) -> None:
        self._read = read

    async def read(self) -> bytes:
        return await self._read()


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


async def test_leaving_the_block_or_cancelling_closes_within_50_ms() -> None:
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
        assert time.monotonic() - begun < 0.05
        async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
            await exchange.read()
        begun = time.monotonic()
        await soon(lambda: vendor.open_connections == 0)
        assert time.monotonic() - begun < 0.05


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
            await asyncio.sleep(0.1)
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
