"""Exchanges with a vendor on a raw socket by the HTTP client itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from services.providers.adapters.http.client import VendorHttp
from services.providers.domain.failure import AttemptError
from services.providers.use_cases.bodies import read_answer
from tests.support.raw_vendor import Connection, RawVendor, Request, Script, raw_vendor
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
