"""What goes wrong between us and a vendor: a typed error, what may help, what it costs, and nothing left over."""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.chassis.status import RemoteError
from tests.support import vendor_faults as faults
from tests.support.providers import USAGE, Providers, attempt, chat_answer, chat_chunk, endpoint, providers
from tests.support.raw_vendor import Connection, RawVendor, Request, Script, raw_vendor
from tests.support.self_signed import self_signed
from turnpike.common.v1 import error_pb2, usage_pb2
from turnpike.providers.v1 import providers_pb2 as pb

Reason = error_pb2.ErrorReason
Retry = error_pb2.RetryClass
SAME = Retry.RETRY_CLASS_SAME_ENDPOINT
OTHER = Retry.RETRY_CLASS_OTHER_MODEL
NEVER = Retry.RETRY_CLASS_NEVER
NOTHING, BY_USAGE, FULL = pb.CHARGE_RULE_NOTHING, pb.CHARGE_RULE_USAGE, pb.CHARGE_RULE_FULL
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def nothing_left(vendor: RawVendor) -> AsyncIterator[None]:
    """Fails if a connection or a task of the block is still there after it."""
    before = len(asyncio.all_tasks())
    yield
    async with asyncio.timeout(5):
        while vendor.open_connections:
            vendor.closed.clear()
            await vendor.closed.wait()
        while len(asyncio.all_tasks()) > before:  # what has been cancelled needs a turn to end
            await asyncio.sleep(0)


async def fail(running: Providers, *, stream: bool, **more: Any) -> pb.AttemptFailed:
    """The failure of one attempt."""
    asked = attempt("count to ten", **more)
    with pytest.raises(RemoteError) as caught:
        await answer(running, asked, stream=stream)
    failed = caught.value.detail(pb.AttemptFailed)
    assert failed is not None
    assert Reason.Name(failed.reason) == f"ERROR_REASON_{caught.value.reason}"
    return failed


async def answer(running: Providers, asked: pb.Attempt, *, stream: bool) -> tuple[str, pb.AttemptFinished]:
    """The text of one attempt, and its end."""
    if not stream:
        response = await running.remote.unary(
            running.stub.Generate, pb.GenerateRequest(attempt=asked), timeout_s=20
        )
        return response.finished.choices[0].message.parts[0].text.text, response.finished
    text = ""
    request = pb.StreamGenerateRequest(attempt=asked)
    async with running.remote.stream(running.stub.StreamGenerate, request, timeout_s=20) as events:
        async for event in events:
            text += event.delta.text
            if event.WhichOneof("event") == "finished":
                return text, event.finished
    raise AssertionError


def millis(milliseconds: int) -> Any:
    return {"seconds": milliseconds // 1000, "nanos": milliseconds % 1000 * 1_000_000}


@dataclass(frozen=True)
class Fault:
    script: Script
    reason: str
    retry: Retry.ValueType
    charge: pb.ChargeRule.ValueType
    stream: bool = True
    phase: str = ""
    settings: Any = None


FAULTS: dict[str, Fault] = {
    "slow first byte": Fault(
        faults.silence,
        "VENDOR_TIMEOUT",
        SAME,
        FULL,
        phase="first_token",
        settings={"first_token_timeout": millis(150)},
    ),
    "comments instead of a first token": Fault(
        faults.only_comments,
        "VENDOR_TIMEOUT",
        SAME,
        FULL,
        phase="first_token",
        settings={"first_token_timeout": millis(150)},
    ),
    "stall in mid-stream": Fault(
        faults.stall,
        "VENDOR_TIMEOUT",
        SAME,
        BY_USAGE,
        phase="idle",
        settings={"idle_timeout": millis(150), "first_token_timeout": millis(100)},
    ),
    "reset in mid-stream": Fault(faults.reset, "VENDOR_STREAM_TRUNCATED", SAME, BY_USAGE),
    "reset before the answer": Fault(faults.reset_before_answer, "VENDOR_ERROR", SAME, FULL),
    "reset before the whole answer": Fault(
        faults.reset_before_answer, "VENDOR_ERROR", SAME, FULL, stream=False
    ),
    "an end before the end": Fault(faults.end_early, "VENDOR_STREAM_TRUNCATED", SAME, BY_USAGE),
    "garbage in mid-stream": Fault(faults.garbage, "VENDOR_PROTOCOL_ERROR", OTHER, BY_USAGE),
    "garbage as a whole": Fault(faults.garbage_whole, "VENDOR_PROTOCOL_ERROR", OTHER, FULL, stream=False),
    "a web page": Fault(faults.web_page, "VENDOR_PROTOCOL_ERROR", OTHER, FULL),
    "a web page as a whole": Fault(faults.web_page, "VENDOR_PROTOCOL_ERROR", OTHER, FULL, stream=False),
    "200 with an error body": Fault(faults.error_in_200, "VENDOR_OVERLOADED", SAME, NOTHING),
    "200 with an error body as a whole": Fault(
        faults.error_in_200, "VENDOR_OVERLOADED", SAME, NOTHING, stream=False
    ),
    "an error event at first": Fault(faults.error_event_at_first, "VENDOR_RATE_LIMITED", SAME, NOTHING),
    "a line of 10 MB": Fault(faults.long_line, "VENDOR_PROTOCOL_ERROR", OTHER, FULL),
    "a redirect": Fault(faults.redirect, "VENDOR_PROTOCOL_ERROR", OTHER, NOTHING),
    "a proxy's page of 502": Fault(faults.bad_gateway, "VENDOR_ERROR", SAME, NOTHING),
    "nothing at all": Fault(faults.empty, "VENDOR_STREAM_TRUNCATED", SAME, FULL),
    "what is not gzip": Fault(faults.not_gzip, "VENDOR_PROTOCOL_ERROR", OTHER, FULL, stream=False),
    "broken gzip": Fault(faults.broken_gzip, "VENDOR_PROTOCOL_ERROR", OTHER, FULL, stream=False),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_typed_classified_charged_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    async with raw_vendor(fault.script) as vendor, nothing_left(vendor):
        async with providers(tmp_path, [endpoint(vendor.base_url)]) as running:
            failed = await fail(running, stream=fault.stream, **(fault.settings or {}))
        assert len(vendor.requests) == 1, "it was sent more than once"
    assert Reason.Name(failed.reason) == f"ERROR_REASON_{fault.reason}"
    assert failed.retry_class == fault.retry
    assert failed.charge == fault.charge
    assert failed.phase == fault.phase
    if fault.charge == BY_USAGE:
        assert failed.usage.source == usage_pb2.USAGE_SOURCE_ESTIMATED
        assert failed.usage.output_tokens >= 3
        assert failed.usage.input_tokens >= 3


async def test_a_refused_connection_costs_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with providers(tmp_path, [endpoint(url)]) as running:
            failed = await fail(running, stream=True)
    assert (failed.reason, failed.retry_class, failed.charge) == (
        Reason.ERROR_REASON_VENDOR_UNREACHABLE,
        SAME,
        NOTHING,
    )


@contextmanager
def never_accepting() -> Iterator[str]:
    """A base URL where connections are asked for and never made."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(4):  # fill the backlog: further connections are dropped by the kernel
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield f"http://{address[0]}:{address[1]}"


async def test_a_connection_that_is_never_accepted_times_out_by_its_own_phase(tmp_path: Path) -> None:
    with never_accepting() as url:
        async with providers(tmp_path, [endpoint(url)]) as running:
            failed = await fail(running, stream=True, connect_timeout=millis(200))
    assert (failed.reason, failed.phase, failed.charge) == (
        Reason.ERROR_REASON_VENDOR_TIMEOUT,
        "connect",
        NOTHING,
    )


@pytest.mark.parametrize("way", ["deadline", "cancel"])
async def test_what_ends_while_its_connection_is_made_costs_nothing(way: str, tmp_path: Path) -> None:
    operation = pb.DispatchOperation(operation_id=1, start=attempt(stream=True))
    operation.timeout.nanos = 400_000_000 if way == "deadline" else 0
    operation.timeout.seconds = 0 if way == "deadline" else 20
    with never_accepting() as url:
        async with providers(tmp_path, [endpoint(url)]) as running:
            call: Any = running.stub.Dispatch(metadata=running.remote.metadata())
            await call.write(pb.DispatchRequest(operations=[operation]))
            failed = None
            while failed is None:
                for event in (await call.read()).events:
                    if event.WhichOneof("event") == "failed":
                        failed = event.failed
                    elif way == "cancel":
                        stop = pb.DispatchOperation(operation_id=1, cancel=pb.CancelAttempt())
                        await call.write(pb.DispatchRequest(operations=[stop]))
            call.cancel()
    assert failed.charge == NOTHING


async def busy_loop(request: Request, connection: Connection) -> None:
    """Speaks, and then lets no timer go off until every deadline has passed."""
    await connection.begin_stream()
    for number in range(20):
        await connection.chunk(chat_chunk(content=f"{number} "))
        await asyncio.sleep(0.001)
    time.sleep(1.6)
    await connection.until_closed()


@pytest.mark.parametrize("script", [faults.endless, busy_loop])
async def test_the_callers_deadline_ends_a_stream_with_what_it_took(tmp_path: Path, script: Script) -> None:
    failed = await overdue(tmp_path, script, attempt(stream=True), millis(1500))
    assert (failed.reason, failed.phase) == (Reason.ERROR_REASON_VENDOR_TIMEOUT, "total")
    assert failed.charge == BY_USAGE
    assert failed.usage.output_tokens > 10


async def test_the_time_that_writing_a_large_request_takes_is_part_of_the_deadline(tmp_path: Path) -> None:
    large = attempt("\x01" * 7_000_000, stream=True)
    failed = await overdue(tmp_path, faults.endless, large, millis(400))
    assert (failed.reason, failed.phase) == (Reason.ERROR_REASON_VENDOR_TIMEOUT, "total")


async def overdue(tmp_path: Path, script: Script, asked: pb.Attempt, timeout: Any) -> pb.AttemptFailed:
    """How an attempt on a batch stream ends whose time is up before its answer is."""
    operation = pb.DispatchOperation(operation_id=1, start=asked, timeout=timeout)
    async with (
        raw_vendor(script) as vendor,
        nothing_left(vendor),
        providers(tmp_path, [endpoint(vendor.base_url)]) as running,
    ):
        call: Any = running.stub.Dispatch(metadata=running.remote.metadata())
        await call.write(pb.DispatchRequest(operations=[operation]))
        failed: pb.AttemptFailed | None = None
        while failed is None:
            for event in (await call.read()).events:
                if event.WhichOneof("event") == "failed":
                    failed = event.failed
        call.cancel()
    return failed


async def whole(request: Request, connection: Connection) -> None:
    await connection.answer(chat_answer())


async def test_a_certificate_of_nobody_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    context, file = self_signed(tmp_path)
    async with raw_vendor(whole, tls=context) as vendor:
        url = f"https://localhost:{vendor.address.rpartition(':')[2]}"
        async with providers(tmp_path, [endpoint(url)]) as running:
            failed = await fail(running, stream=False)
        assert vendor.requests == []
        async with providers(tmp_path, [endpoint(url)], certificates_file=file) as running:
            text, _ = await answer(running, attempt(), stream=False)
    assert (failed.reason, failed.charge) == (Reason.ERROR_REASON_VENDOR_UNREACHABLE, NOTHING)
    assert text == "hello you"


async def test_a_vendor_without_tls_is_not_spoken_to_in_the_open(tmp_path: Path) -> None:
    async with raw_vendor(whole) as vendor:
        url = vendor.base_url.replace("http://", "https://")
        async with providers(tmp_path, [endpoint(url)]) as running:
            failed = await fail(running, stream=False, connect_timeout=millis(300))
    # The handshake fails, or nobody ever answers to it.
    assert failed.reason in (Reason.ERROR_REASON_VENDOR_UNREACHABLE, Reason.ERROR_REASON_VENDOR_TIMEOUT)
    assert failed.charge == NOTHING


TEXT = "Grüße, Welt 🌍 – 你好"


async def test_characters_split_over_reads_come_whole(tmp_path: Path) -> None:
    async def split(request: Request, connection: Connection) -> None:
        said = {
            "choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}],
            "usage": USAGE,
        }
        await connection.begin_stream()
        for byte in b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n" + DONE:
            await connection.chunk(bytes([byte]))
        await connection.end_stream()

    async with raw_vendor(split) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        text, finished = await answer(running, attempt(), stream=True)
    assert text == TEXT
    assert finished.usage.source == usage_pb2.USAGE_SOURCE_VENDOR


@pytest.mark.parametrize("stream", [False, True])
async def test_compressed_answers_are_read(stream: bool, tmp_path: Path) -> None:
    streamed = chat_chunk(content="hello you") + chat_chunk(finish_reason="stop", usage=USAGE) + DONE

    async def compressed(request: Request, connection: Connection) -> None:
        body = gzip.compress(streamed if stream else chat_answer())
        kind = "text/event-stream" if stream else "application/json"
        await connection.answer(body, content_type=kind, content_encoding="gzip")

    async with raw_vendor(compressed) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        text, finished = await answer(running, attempt(), stream=stream)
    assert text == "hello you"
    assert finished.usage.output_tokens == 2


async def test_a_whole_answer_to_a_streaming_call_becomes_deltas(tmp_path: Path) -> None:
    async with raw_vendor(whole) as vendor, providers(tmp_path, [endpoint(vendor.base_url)]) as running:
        text, finished = await answer(running, attempt(), stream=True)
    assert text == "hello you"
    assert not finished.choices


async def test_an_answer_without_usage_is_counted_here(tmp_path: Path) -> None:
    async def silent_about_usage(request: Request, connection: Connection) -> None:
        said = json.loads(chat_answer("one two three four"))
        del said["usage"]
        await connection.answer(json.dumps(said).encode())

    async with (
        raw_vendor(silent_about_usage) as vendor,
        providers(tmp_path, [endpoint(vendor.base_url)]) as running,
    ):
        _, finished = await answer(running, attempt(), stream=False)
    assert finished.usage.source == usage_pb2.USAGE_SOURCE_ESTIMATED
    assert finished.usage.output_tokens >= 4
