"""What the HTTP client reads: framing, cuts, compression, and what is no HTTP at all."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from services.providers.adapters.http import connection, inflate
from services.providers.domain.failure import AttemptError
from services.providers.use_cases.bodies import read_answer
from tests.support.http_exchanges import BODY, LENGTH, WHOLE, ask, failure, saying, soon, vendor_and_client
from tests.support.raw_vendor import Connection, Request
from turnpike.common.v1 import error_pb2

Reason = error_pb2.ErrorReason

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
    "in a chunk, told in capitals": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n8\r\nhello",
        "VENDOR_STREAM_TRUNCATED",
    ),
    "in a chunk, told in a second line": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n8\r\nhello",
        "VENDOR_STREAM_TRUNCATED",
    ),
    "between chunks": (CHUNKED[: CHUNKED.index(b"0\r\nx-trailer")], "VENDOR_STREAM_TRUNCATED"),
}


async def test_trailers_are_not_kept() -> None:
    trailers = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(30))
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + trailers + b"\r\n"
    async with vendor_and_client(saying(answer)) as (vendor, http):
        url = f"{vendor.base_url}/v1"
        async with http.send("POST", url, {}, b"{}", connect_timeout_s=2.0) as exchange:
            assert await read_answer(exchange, 1 << 20) == b"{}"
            assert list(exchange.headers) == ["transfer-encoding"]


ENDLESS = {
    "one trailer": b"0\r\nx-trailer: ",
    "a trailer's name": b"0\r\n",
    "a chunk's extension": b"8;",
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_is_no_content_and_has_no_end_is_refused(name: str) -> None:
    sent = 0

    async def script(request: Request, connection: Connection) -> None:
        nonlocal sent
        await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await connection.write(ENDLESS[name])
        while True:
            await connection.write(b"y" * 4096)
            sent += 4096
            await asyncio.sleep(0)

    async with vendor_and_client(script) as (vendor, http), asyncio.timeout(10):
        assert (await failure(vendor, http))[0] == "ERROR_REASON_VENDOR_STREAM_TRUNCATED"
        await soon(lambda: vendor.open_connections == 0)
    assert sent < 64 * connection.HEAD_BYTES_MAX  # what the sockets' buffers take comes on top


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
    "gzip that is padded": ("gzip", gzip.compress(TEXT) + bytes(512)),
    "identity": ("identity", TEXT),
    "identity in capitals": ("Identity", TEXT),
    "said to be nothing": ("", TEXT),
}


@pytest.mark.parametrize("name", PACKED)
async def test_compressed_answers_are_inflated(name: str) -> None:
    encoding, packed = PACKED[name]

    async def script(request: Request, connection: Connection) -> None:
        await connection.answer(packed, content_encoding=encoding)

    async with vendor_and_client(script) as (vendor, http):
        assert (await ask(vendor, http))[2] == TEXT


async def test_zeros_after_the_end_may_come_in_reads_of_their_own() -> None:
    pieces = iter([gzip.compress(TEXT), bytes(512), bytes(3) + gzip.compress(b" "), bytes(1), b""])

    async def read() -> bytes:
        return next(pieces)

    inflated, found = inflate.Inflated("gzip", read), b""
    while piece := await inflated.read():
        found += piece
    assert found == TEXT + b" "


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
