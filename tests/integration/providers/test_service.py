"""The service over real gRPC to a vendor on a real socket: answers, streams, cancellation, catalogue, health."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from tests.support.providers import (
    MODEL,
    USAGE,
    Providers,
    attempt,
    chat_answer,
    chat_chunk,
    endpoint,
    providers,
)
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.providers.v1 import providers_pb2 as pb


async def speak(request: Request, connection: Connection) -> None:
    """Answers as OpenAI would."""
    if not json.loads(request.body).get("stream"):
        await connection.answer(chat_answer(), x_request_id="vendor-1")
        return
    await connection.begin_stream()
    await connection.chunk(chat_chunk(role="assistant", content=""))
    for word in ("hello", " you"):
        await connection.chunk(chat_chunk(content=word))
    await connection.chunk(chat_chunk(finish_reason="stop"))
    await connection.chunk(chat_chunk(usage=USAGE) + b"data: [DONE]\n\n")
    await connection.end_stream()


async def test_generate_gives_the_answer_its_usage_and_ids(tmp_path: Path) -> None:
    async with raw_vendor(speak) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        response = await running.remote.unary(
            running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=10
        )
    finished = response.finished
    assert finished.choices[0].message.parts[0].text.text == "hello you"
    assert finished.choices[0].finish_reason == content_pb2.FINISH_REASON_STOP
    assert (finished.usage.input_tokens, finished.usage.output_tokens) == (5, 2)
    assert (finished.endpoint_id, finished.vendor_request_id, finished.vendor_model) == (
        MODEL,
        "vendor-1",
        "echo-1",
    )
    sent = json.loads(vendor.requests[0].body)
    assert sent == {
        "model": "echo-1",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 64,
    }
    assert "authorization" not in vendor.requests[0].headers


async def test_stream_generate_gives_deltas_and_ends_with_finished(tmp_path: Path) -> None:
    async with raw_vendor(speak) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        request = pb.StreamGenerateRequest(attempt=attempt())
        async with running.remote.stream(running.stub.StreamGenerate, request, timeout_s=10) as events:
            kinds, text = [], ""
            async for event in events:
                kinds.append(event.WhichOneof("event"))
                text += event.delta.text
    assert kinds == ["started", "delta", "delta", "delta", "finished"]
    assert text == "hello you"
    assert event.finished.usage.output_tokens == 2


class Talk:
    """One Dispatch stream, driven by hand."""

    def __init__(self, running: Providers) -> None:
        self.call: Any = running.stub.Dispatch(metadata=running.remote.metadata())
        self._left: list[pb.DispatchEvent] = []

    async def send(self, *operations: pb.DispatchOperation) -> None:
        await self.call.write(pb.DispatchRequest(operations=operations))

    async def events(self) -> AsyncIterator[pb.DispatchEvent]:
        while True:
            while self._left:
                yield self._left.pop(0)
            self._left = list((await self.call.read()).events)

    async def until_end(self) -> list[pb.DispatchEvent]:
        found = []
        async for event in self.events():
            found.append(event)
            if event.WhichOneof("event") in ("finished", "failed"):
                return found
        raise AssertionError


def start(number: int, **more: Any) -> pb.DispatchOperation:
    operation = pb.DispatchOperation(operation_id=number, start=attempt(stream=True, **more))
    operation.timeout.seconds = 20
    return operation


async def test_dispatch_carries_many_attempts_over_one_stream(tmp_path: Path) -> None:
    async with raw_vendor(speak) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        talk = Talk(running)
        await talk.send(*(start(number) for number in range(1, 9)))
        texts: dict[int, str] = {}
        ended = 0
        async for event in talk.events():
            texts[event.operation_id] = texts.get(event.operation_id, "") + event.delta.text
            if event.WhichOneof("event") == "finished":
                ended += 1
                assert event.finished.usage.input_tokens == 5
                if ended == 8:
                    break
        talk.call.cancel()
    assert texts == dict.fromkeys(range(1, 9), "hello you")


async def test_cancel_closes_the_vendors_connection_at_once_and_books_what_was_said(
    tmp_path: Path,
) -> None:
    closed_at: list[float] = []

    async def endless(request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(chat_chunk(content="one two three four five"))
        await connection.until_closed()
        closed_at.append(time.monotonic())

    async with raw_vendor(endless) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        talk = Talk(running)
        await talk.send(start(1))
        async for event in talk.events():
            if event.WhichOneof("event") == "delta":
                break
        asked_at = time.monotonic()
        await talk.send(
            pb.DispatchOperation(operation_id=1, cancel=pb.CancelAttempt(reason="the reader left"))
        )
        [failed] = [event.failed for event in await talk.until_end() if event.WhichOneof("event") == "failed"]
        async with asyncio.timeout(5):
            await vendor.closed.wait()
        talk.call.cancel()
    assert closed_at[0] - asked_at < 1.0  # some milliseconds, on a machine that has nothing else to do
    assert failed.reason == error_pb2.ERROR_REASON_CANCELLED
    assert failed.charge == pb.CHARGE_RULE_USAGE
    assert failed.usage.output_tokens >= 5
    assert failed.usage.input_tokens > 0


async def test_a_whole_answer_is_one_event(tmp_path: Path) -> None:
    async def whole(request: Request, connection: Connection) -> None:
        await connection.answer(chat_answer())

    async with raw_vendor(whole) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        talk = Talk(running)
        operation = start(1)
        operation.start.stream = False
        await talk.send(operation)
        [event] = await talk.until_end()
        talk.call.cancel()
    assert event.finished.choices[0].message.parts[0].text.text == "hello you"


async def test_what_comes_in_one_message_with_an_attempt_is_heard(tmp_path: Path) -> None:
    async def many(request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(chat_chunk(content="x") * 600)
        await connection.chunk(chat_chunk(finish_reason="stop", usage=USAGE) + b"data: [DONE]\n\n")
        await connection.end_stream()

    async with raw_vendor(many) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        talk = Talk(running)
        credit = pb.DispatchOperation(operation_id=1, credit=pb.GrantCredit(deltas=1000))
        await talk.send(start(1), credit)
        async with asyncio.timeout(10):
            events = await talk.until_end()
        assert events[-1].WhichOneof("event") == "finished"
        cancel = pb.DispatchOperation(operation_id=2, cancel=pb.CancelAttempt())
        await talk.send(start(2), cancel)
        async with asyncio.timeout(10):
            [failed] = [
                event.failed for event in await talk.until_end() if event.WhichOneof("event") == "failed"
            ]
        talk.call.cancel()
    assert failed.reason == error_pb2.ERROR_REASON_CANCELLED
    assert failed.charge == pb.CHARGE_RULE_NOTHING


async def test_a_slow_reader_holds_the_vendor_back(tmp_path: Path) -> None:
    written = 0

    async def fast(request: Request, connection: Connection) -> None:
        nonlocal written
        await connection.begin_stream()
        word = chat_chunk(content="x" * 1000)
        for _ in range(20_000):
            await connection.chunk(word)
            written += 1
        await connection.chunk(chat_chunk(finish_reason="stop", usage=USAGE) + b"data: [DONE]\n\n")
        await connection.end_stream()

    async with raw_vendor(fast) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        talk = Talk(running)
        await talk.send(start(1))
        got = 0
        async for event in talk.events():
            got += event.WhichOneof("event") == "delta"
            if got >= 256:
                break
        before = -1
        async with asyncio.timeout(10):
            while before != written:  # until the vendor, too, is held back
                before = written
                await asyncio.sleep(0.2)
        assert written < 20_000, "the vendor was never held back"
        await talk.send(pb.DispatchOperation(operation_id=1, credit=pb.GrantCredit(deltas=100_000)))
        events = await talk.until_end()
        talk.call.cancel()
    assert got + sum(event.WhichOneof("event") == "delta" for event in events) == 20_001


async def test_failures_of_unary_calls_are_typed_statuses_with_the_facts(tmp_path: Path) -> None:
    async def limit(request: Request, connection: Connection) -> None:
        body = b'{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}'
        await connection.answer(body, 429, retry_after="7", x_request_id="vendor-2")

    async with raw_vendor(limit) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        with pytest.raises(RemoteError) as caught:
            await running.remote.unary(
                running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=10
            )
    error = caught.value
    assert error.reason == "VENDOR_RATE_LIMITED"
    assert error.retry_after_s == 7
    failed = error.detail(pb.AttemptFailed)
    assert failed is not None
    assert failed.retry_class == error_pb2.RETRY_CLASS_SAME_ENDPOINT
    assert failed.charge == pb.CHARGE_RULE_NOTHING
    assert failed.vendor_request_id == "vendor-2"
    assert failed.http_status == 429


async def test_wrong_requests_name_their_fields(tmp_path: Path) -> None:
    async with providers(tmp_path, [endpoint("http://127.0.0.1:9")]) as running:
        for wrong, field in (
            (attempt(model="nonsense"), "attempt.model"),
            (attempt(max_output_tokens=0), "attempt.max_output_tokens"),
            (pb.Attempt(model=MODEL, max_output_tokens=1), "attempt.input.messages"),
        ):
            with pytest.raises(TurnpikeError) as caught:
                await running.remote.unary(
                    running.stub.Generate, pb.GenerateRequest(attempt=wrong), timeout_s=5
                )
            assert [violation.field for violation in caught.value.violations] == [field]


async def test_the_catalogue_lists_what_the_file_brings_and_says_where_it_can_be_called(
    tmp_path: Path,
) -> None:
    facts = {
        "prices": [{"source": "ours", "tiers": [{"input": 50_000_000, "output": 100_000_000}]}],
        "can": ["streaming", "tools"],
        "limits": {"context_tokens_max": 4096},
    }
    async with providers(tmp_path, [endpoint("http://127.0.0.1:9", facts=facts)]) as running:
        got = await running.remote.unary(running.stub.GetModel, pb.GetModelRequest(model=MODEL), timeout_s=5)
        assert got.model.list_prices[0].tiers[0].output_nanos_per_million == 100_000_000
        assert got.model.capabilities.tools
        assert [point.endpoint_id for point in got.model.endpoints] == [MODEL]
        usable = await running.remote.unary(
            running.stub.ListModels, pb.ListModelsRequest(usable_only=True), timeout_s=5
        )
        assert [model.model for model in usable.models] == [MODEL]
        names: list[str] = []
        token = ""
        while True:
            page = await running.remote.unary(
                running.stub.ListModels, pb.ListModelsRequest(page_size=50, page_token=token), timeout_s=5
            )
            names += [model.model for model in page.models]
            token = page.next_page_token
            if not token:
                break
        assert names == sorted(set(names))
        assert len(names) > 80
        async with running.remote.stream(running.stub.WatchCatalogue, pb.WatchCatalogueRequest()) as updates:
            async for update in updates:
                assert update.snapshot
                assert sorted(model.model for model in update.models) == names
                break


async def test_health_is_told_at_first_and_when_it_changes(tmp_path: Path) -> None:
    async with providers(tmp_path, [endpoint("http://127.0.0.1:9")]) as running:
        async with running.remote.stream(running.stub.WatchHealth, pb.WatchHealthRequest()) as updates:
            states: list[int] = []
            async for update in updates:
                states += [health.state for health in update.endpoints]
                if not states[1:]:
                    for _ in range(5):
                        with pytest.raises(TurnpikeError):
                            await running.remote.unary(
                                running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=5
                            )
                if pb.ENDPOINT_STATE_DOWN in states:
                    break
        with pytest.raises(RemoteError) as caught:
            await running.remote.unary(
                running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=5
            )
    assert states[0] == pb.ENDPOINT_STATE_HEALTHY
    assert caught.value.reason == "ENDPOINT_RESTING"


async def test_connections_are_kept_between_streams(tmp_path: Path) -> None:
    async with raw_vendor(speak) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        for _ in range(5):
            request = pb.StreamGenerateRequest(attempt=attempt())
            async with running.remote.stream(running.stub.StreamGenerate, request, timeout_s=10) as events:
                async for _event in events:
                    pass
        assert isinstance(vendor, RawVendor)
        assert vendor.connections <= 2


async def test_a_server_that_comes_back_is_found_without_costing_an_attempt(tmp_path: Path) -> None:
    async with raw_vendor(speak) as vendor:
        url = vendor.base_url
    port = int(url.rpartition(":")[2])
    async with providers(tmp_path, [endpoint(url)]) as running:
        for _ in range(5):
            with pytest.raises(TurnpikeError):
                await running.remote.unary(
                    running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=5
                )
        async with raw_vendor(speak, port=port) as vendor:
            async with running.remote.stream(running.stub.WatchHealth, pb.WatchHealthRequest()) as updates:
                async with asyncio.timeout(20):
                    async for update in updates:
                        if any(health.state != pb.ENDPOINT_STATE_DOWN for health in update.endpoints):
                            break
            assert vendor.requests == []
            response = await running.remote.unary(
                running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=5
            )
    assert response.finished.usage.output_tokens == 2


async def test_attempts_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    def counted(outcome: str) -> float:
        return (
            REGISTRY.get_sample_value(
                "turnpike_providers_attempts_total", {"provider": "local", "outcome": outcome}
            )
            or 0.0
        )

    before = counted("ok"), counted("vendor_unreachable")
    endpoints = [endpoint("http://127.0.0.1:9", endpoint_id="nobody", model="local/nobody")]
    async with (
        raw_vendor(speak) as vendor,
        providers(tmp_path, [*endpoints, endpoint(vendor.base_url)]) as running,
    ):
        await running.remote.unary(running.stub.Generate, pb.GenerateRequest(attempt=attempt()), timeout_s=5)
        with pytest.raises(TurnpikeError):
            lost = pb.GenerateRequest(attempt=attempt(model="local/nobody"))
            await running.remote.unary(running.stub.Generate, lost, timeout_s=5)
    assert (counted("ok"), counted("vendor_unreachable")) == (before[0] + 1, before[1] + 1)
