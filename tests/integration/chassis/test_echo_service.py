"""A whole service in one process, over a real connection."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.chassis.app import Running, serving
from services.chassis.channel import Remote, connect
from services.chassis.settings import Secret
from services.chassis.status import DETAILS_KEY, RemoteError
from services.kernel.errors import (
    Category,
    DeadlineExceeded,
    NotImplementedYet,
    OutcomeUnknown,
    ServiceUnavailable,
)
from tests.support.echo import SERVICE, EchoServicer, EchoSettings, EchoStub, echo_app

TOKENS = {"router": Secret("tps_router"), "analytics": Secret("tps_analytics")}


@dataclass
class Echo:
    servicer: EchoServicer
    running: Running
    remote: Remote
    stub: EchoStub


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    servicer = EchoServicer()
    settings = EchoSettings(service_tokens=TOKENS, drain_s=1.0, message_bytes_max=100_000)
    async with (
        serving(echo_app(servicer), settings) as running,
        connect("echo", str(running.address), token="tps_router") as remote,
    ):
        yield Echo(servicer, running, remote, EchoStub(remote.channel))


async def say(echo: Echo, text: str, timeout_s: float = 5.0) -> str:
    answer = await echo.remote.unary(echo.stub.Say, StringValue(value=text), timeout_s=timeout_s)
    return str(answer.value)


async def test_all_four_kinds_of_rpc(echo: Echo) -> None:
    assert await say(echo, "hello") == "hello"
    async with echo.remote.stream(echo.stub.Count, StringValue(value="2")) as numbers:
        assert [number.value async for number in numbers] == ["0", "1"]
    metadata = echo.remote.metadata()
    words = [StringValue(value=word) for word in ("a", "b")]
    assert (await echo.stub.Join(iter(words), metadata=metadata)).value == "ab"
    assert [word.value async for word in echo.stub.Chat(iter(words), metadata=metadata)] == ["A", "B"]


async def test_the_caller_is_known_by_its_token(echo: Echo) -> None:
    assert await say(echo, "who") == "service:router"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("authorization", "Basic abc"),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer tps_wrong"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer tpk_router"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer tps_" + "x" * 1000),), "CREDENTIALS_INVALID"),
    ],
)
async def test_others_are_refused_with_one_error_info(echo: Echo, metadata: tuple[()], reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.stub.Say(StringValue(value="hello"), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    status = Status.FromString(dict(caught.value.trailing_metadata())[DETAILS_KEY])
    infos = [detail for detail in status.details if detail.Is(ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = ErrorInfo.FromString(infos[0].value)
    assert (info.domain, info.reason) == ("turnpike.dev", reason)


async def test_an_error_arrives_with_its_reason_facts_and_hint(echo: Echo) -> None:
    with pytest.raises(RemoteError) as caught:
        await say(echo, "refuse")
    error = caught.value
    assert (error.category, error.reason) == (Category.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.metadata == {"store": "postgres"}
    assert error.retry_after_s == 1.0
    assert error.detail(RetryInfo) is None, "the standard details are read, not kept twice"


async def test_field_violations_arrive(echo: Echo) -> None:
    with pytest.raises(RemoteError) as caught:
        await say(echo, "invalid")
    assert [violation.field for violation in caught.value.violations] == ["value"]


async def test_an_internal_error_leaks_nothing_but_an_id(echo: Echo) -> None:
    with pytest.raises(RemoteError) as caught:
        await say(echo, "crash")
    error = caught.value
    assert (error.category, error.reason) == (Category.INTERNAL, "INTERNAL")
    assert "hunter2" not in str(error.message) + str(error.metadata)
    assert error.metadata["error_id"].startswith("err_")
    assert error.metadata["error_id"] in error.message


async def test_an_error_in_a_stream_comes_after_what_was_sent(echo: Echo) -> None:
    heard = []
    with pytest.raises(RemoteError, match="postgres"):
        async with echo.remote.stream(echo.stub.Count, StringValue(value="3")) as numbers:
            async for number in numbers:
                heard.append(number.value)
    assert heard == ["0", "1", "2"]


async def test_a_stream_that_is_left_gives_back_what_it_held(echo: Echo) -> None:
    async with echo.remote.stream(echo.stub.Count, StringValue(value="1000000")) as numbers:
        assert (await anext(numbers)).value == "0"
        assert echo.servicer.held == 1
    await asyncio.wait_for(echo.servicer.ended.wait(), 5)
    assert echo.servicer.held == 0


async def test_a_deadline_is_carried_and_ends_the_handler(echo: Echo) -> None:
    assert 0 < float(await say(echo, "left", timeout_s=2.0)) <= 2.1, "gRPC rounds up"
    with pytest.raises(DeadlineExceeded) as caught:
        await say(echo, "hang", timeout_s=0.1)
    assert caught.value.begun
    await asyncio.wait_for(echo.servicer.ended.wait(), 5)


async def test_a_call_without_a_deadline_gets_the_default_one() -> None:
    servicer = EchoServicer()
    async with (
        serving(echo_app(servicer), EchoSettings(deadline_s=0.1)) as running,
        grpc.aio.insecure_channel(str(running.address)) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EchoStub(channel).Say(StringValue(value="hang"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert servicer.ended.is_set()


async def test_a_method_that_is_not_defined_says_so(echo: Echo) -> None:
    with pytest.raises(RemoteError) as caught:
        await echo.remote.unary(echo.stub.Later, StringValue(), timeout_s=5)
    assert caught.value.reason == NotImplementedYet.reason
    assert caught.value.metadata == {"rpc": f"/{SERVICE}/Later"}


async def test_a_message_above_the_limit_is_refused_by_the_transport(echo: Echo) -> None:
    with pytest.raises(RemoteError) as caught:
        await say(echo, "x" * 200_000)
    assert caught.value.category is Category.RESOURCE_EXHAUSTED
    assert caught.value.reason == "REQUEST_TOO_LARGE"


async def test_a_service_that_is_not_there_is_unavailable_at_once(unused_tcp_port: int) -> None:
    async with connect("echo", f"127.0.0.1:{unused_tcp_port}") as remote:
        with pytest.raises(ServiceUnavailable):
            await remote.unary(EchoStub(remote.channel).Say, StringValue(), timeout_s=5)


async def test_draining_says_not_serving_and_lets_calls_finish() -> None:
    servicer = EchoServicer()
    statuses: list[int] = []
    async with serving(echo_app(servicer), EchoSettings(drain_s=0.5)) as running:
        remote_channel = grpc.aio.insecure_channel(str(running.address))
        health = cast(Any, health_pb2_grpc.HealthStub(remote_channel))
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        statuses.append((await watch.read()).status)
        hanging = asyncio.ensure_future(EchoStub(remote_channel).Say(StringValue(value="hang")))
        await asyncio.wait_for(servicer.began.wait(), 5)
    with pytest.raises(grpc.aio.AioRpcError):
        await hanging
    statuses.append((await watch.read()).status)
    assert statuses == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert servicer.ended.is_set()
    await remote_channel.close()


async def test_a_lost_connection_leaves_the_outcome_unknown() -> None:
    servicer = EchoServicer()
    async with serving(echo_app(servicer), EchoSettings(drain_s=0.0)) as running:
        remote_channel = connect("echo", str(running.address))
        remote = await remote_channel.__aenter__()
        hanging = asyncio.ensure_future(
            remote.unary(EchoStub(remote.channel).Say, StringValue(value="hang"), timeout_s=30)
        )
        await asyncio.wait_for(servicer.began.wait(), 5)
    with pytest.raises(OutcomeUnknown):
        await hanging
    await remote_channel.__aexit__(None, None, None)


async def test_reflection_names_the_service(echo: Echo) -> None:
    stub = cast(Any, reflection_pb2_grpc).ServerReflectionStub(echo.remote.channel)
    request = cast(Any, reflection_pb2).ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    answer = await call.read()
    assert SERVICE in {service.name for service in answer.list_services_response.service}
