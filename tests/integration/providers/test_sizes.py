"""Many texts where one is taken at a time, and one text of many megabytes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.chassis.status import RemoteError
from services.router.adapters.providers import open_models
from tests.support import vendor_faults as faults
from tests.support.providers import MODEL, attempt, chat_answer, endpoint, providers
from tests.support.raw_vendor import Connection, Request, raw_vendor
from tests.support.vendors import speak
from turnpike.common.v1 import error_pb2
from turnpike.providers.v1 import providers_pb2 as pb
from turnpike.providers.v1 import providers_pb2_grpc


async def test_a_model_that_takes_one_text_at_a_time_is_asked_once_a_text(tmp_path: Path) -> None:
    async def titan(request: Request, connection: Connection) -> None:
        text = json.loads(request.body)["inputText"]
        if text == "poison":
            await connection.answer(b'{"message":"Malformed input request"}', 400)
        elif text == "lost":
            await faults.reset_before_answer(request, connection)
        else:
            said = {"embedding": [float(len(text))], "inputTextTokenCount": len(text)}
            await connection.answer(json.dumps(said).encode())

    model = endpoint("", wire_format="bedrock_converse", vendor_model="amazon.titan-embed-text-v2:0")
    async with (
        raw_vendor(titan) as vendor,
        providers(tmp_path, [{**model, "base_url": vendor.base_url}]) as running,
    ):
        asked = pb.EmbedRequest(model=MODEL, texts=["x" * size for size in range(1, 21)])
        made = await running.remote.unary(running.stub.Embed, asked, timeout_s=10)
        assert len(vendor.requests) == 20
        with pytest.raises(RemoteError) as caught:
            asked = pb.EmbedRequest(model=MODEL, texts=["xx", "poison", "xxx"])
            await running.remote.unary(running.stub.Embed, asked, timeout_s=10)
        with pytest.raises(RemoteError) as doubtful:
            asked = pb.EmbedRequest(model=MODEL, texts=["poison", "lost"])
            await running.remote.unary(running.stub.Embed, asked, timeout_s=10)
    assert [(one.index, *one.values) for one in made.embeddings] == [(i, float(i + 1)) for i in range(20)]
    assert made.usage.input_tokens == sum(range(1, 21))
    failed = caught.value.detail(pb.AttemptFailed)
    assert failed is not None
    assert (failed.charge, failed.usage.input_tokens) == (pb.CHARGE_RULE_USAGE, 5)
    failed = doubtful.value.detail(pb.AttemptFailed)
    assert failed is not None
    assert failed.charge == pb.CHARGE_RULE_FULL, "what became of the other is not known"


async def test_twenty_megabytes_of_text_are_refused_by_the_transport_or_taken_whole(tmp_path: Path) -> None:
    text = "all work and no play " * 1_000_000  # 21 MB, above the 17 MiB that a message may have by default
    asked = pb.GenerateRequest(attempt=attempt(text))
    wide = [("grpc.max_send_message_length", -1)]
    for allowed, outcome in ((None, grpc.StatusCode.RESOURCE_EXHAUSTED), (64 << 20, grpc.StatusCode.OK)):
        settings = {} if allowed is None else {"message_bytes_max": allowed}
        async with (
            raw_vendor(speak) as vendor,
            providers(tmp_path, [endpoint(vendor.base_url)], **settings) as running,
            grpc.aio.insecure_channel(str(running.running.address), options=wide) as channel,
        ):
            stub: Any = providers_pb2_grpc.ProviderServiceStub(channel)
            call = stub.Generate(asked, metadata=running.remote.metadata(), timeout=60)
            assert await call.code() == outcome
            if outcome == grpc.StatusCode.OK:
                [request] = vendor.requests
                assert json.loads(request.body)["messages"][0]["content"] == text
            else:
                assert not vendor.requests


async def test_an_answer_that_fits_into_no_message_of_ours_fails_alone_and_says_what_it_took(
    tmp_path: Path,
) -> None:
    endless = chat_answer(
        "x" * (127 << 19)
    )  # 63.5 MiB: less than is read of a vendor, more than a message holds

    async def vendor_says(request: Request, connection: Connection) -> None:
        await connection.answer(endless if b"endless" in request.body else chat_answer("x" * (17 << 20)))

    async with (
        raw_vendor(vendor_says) as vendor,
        providers(tmp_path, [endpoint(vendor.base_url)]) as running,
        open_models(running.remote) as (_, dispatch),
    ):
        asked = (
            dispatch.call(pb.DispatchOperation(start=attempt(text)), timeout_s=60)
            for text in ("endless", "long")
        )
        too_long, long = await asyncio.gather(*asked)
    assert too_long.failed.reason == error_pb2.ERROR_REASON_VENDOR_PROTOCOL_ERROR
    assert too_long.failed.charge == pb.CHARGE_RULE_USAGE
    assert too_long.failed.usage == long.finished.usage
    assert len(long.finished.choices[0].message.parts[0].text.text) == 17 << 20
