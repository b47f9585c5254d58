"""Requests and answers of many megabytes, beside others that share their streams between the services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.chassis.service_settings import MESSAGE_BYTES_MAX
from tests.support.providers import chat_answer
from tests.support.raw_vendor import Connection, Request, raw_vendor
from tests.support.road import Road, Vendor, request, road
from tests.support.vendors import Waiting, speak
from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import router_pb2

MIB = 1 << 20
PATIENCE_S = 60.0


async def long_answer(request: Request, connection: Connection) -> None:
    await connection.answer(chat_answer("x" * (17 * MIB)))


@pytest.fixture
async def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, waiting: Waiting) -> AsyncIterator[Road]:
    async with raw_vendor(waiting) as slow, raw_vendor(speak) as seeing, raw_vendor(long_answer) as talking:
        models = {
            "slow": Vendor(slow.base_url),
            "eye": Vendor(seeing.base_url, can=("image_input",), context=2_000_000),
            "talker": Vendor(talking.base_url),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


@asynccontextmanager
async def bystander(on: Road, waiting: Waiting) -> AsyncIterator[None]:
    """Somebody else's stream is under way for the length of the block, and unhurt at its end."""
    stream = asyncio.create_task(on.stream(model="local/slow"))
    await asyncio.wait_for(waiting.spoken.wait(), PATIENCE_S)
    yield
    assert not stream.done()
    assert not waiting.gone.is_set()
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)


def picture_of(size: int) -> router_pb2.GenerateRequest:
    """A request with a picture of `size` bytes."""
    asked = request("look", model="local/eye")
    picture = content_pb2.MediaPart(data=b"\x89PNG\r\n\x1a\n" + bytes(size - 8), media_type="image/png")
    asked.input.messages[0].parts.add().image.CopyFrom(picture)
    return asked


async def test_the_largest_request_that_is_taken_reaches_its_model(on: Road, waiting: Waiting) -> None:
    envelope = picture_of(16 * MIB).ByteSize() - 16 * MIB
    async with bystander(on, waiting):
        asked = picture_of(MESSAGE_BYTES_MAX - envelope)
        answer = await on.router.unary(on.stub.Generate, asked, timeout_s=PATIENCE_S)
    assert asked.ByteSize() == MESSAGE_BYTES_MAX
    assert answer.outcome.model == "local/eye"


async def test_many_large_requests_at_once_are_all_answered(on: Road, waiting: Waiting) -> None:
    async with bystander(on, waiting):
        asked = (
            on.router.unary(on.stub.Generate, picture_of(5 * MIB), timeout_s=PATIENCE_S) for _ in range(8)
        )
        answers = await asyncio.gather(*asked)
    assert [answer.outcome.model for answer in answers] == ["local/eye"] * 8


async def test_an_answer_larger_than_a_request_may_be_arrives_whole(on: Road, waiting: Waiting) -> None:
    async with bystander(on, waiting):
        asked = request("go", model="local/talker")
        answer = await on.router.unary(on.stub.Generate, asked, timeout_s=PATIENCE_S)
    assert len(answer.choices[0].message.parts[0].text.text) == 17 * MIB
