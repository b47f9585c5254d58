"""Batch streams over a real connection: gathering, errors, deadlines, cancellation, loss, back-pressure, draining."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from services.chassis import tracing
from services.chassis.app import Running, serving
from services.chassis.batch_client import BatchClient
from services.chassis.channel import Remote, connect
from services.chassis.settings import Address, Secret
from services.chassis.status import RemoteError
from services.kernel.errors import DeadlineExceeded, OutcomeUnknown, RequestTooLarge, ServiceUnavailable
from tests.support.batches import Batches, Operation, Result, batches_app, operation
from tests.support.conditions import until
from tests.support.echo import EchoSettings
from turnpike.budget.v1 import budget_pb2, budget_pb2_grpc
from turnpike.common.v1 import error_pb2

Client = BatchClient[Operation, Result]
CONNECTED_WITHIN_S = 20.0


def client(remote: Remote, *, window: int = 4096) -> Client:
    return BatchClient(
        remote,
        budget_pb2_grpc.BudgetServiceStub(remote.channel).Apply,
        pack=lambda operations: budget_pb2.ApplyRequest(operations=operations),
        unpack=lambda response: response.results,
        is_last=lambda result: not result.HasField("release") or result.release.ledger_sequence >= 0,
        cancel=lambda: Operation(renew_lease=budget_pb2.RenewLeaseRequest()),
        window=window,
    )


@dataclass
class Stage:
    servicer: Batches
    running: Running
    client: Client


@asynccontextmanager
async def stage(
    way: str = "handle", *, window: int = 4096, token: str | None = None, **more: Any
) -> AsyncIterator[Stage]:
    servicer = Batches(way)
    tokens = {"router": Secret("tps_router")} if token else {}
    async with (
        serving(batches_app(servicer), EchoSettings(drain_s=2.0, service_tokens=tokens, **more)) as running,
        connect("batches", str(running.address), token=token) as remote,
        client(remote, window=window) as asking,
    ):
        await accepted(asking)
        yield Stage(servicer, running, asking)


async def ask(asking: Client, text: str, timeout_s: float = 20.0) -> int:
    return int((await asking.call(operation(text), timeout_s=timeout_s)).release.ledger_sequence)


async def accepted(asking: Client) -> None:
    """The stream stands; patience is short for a machine that is busy with other things."""
    async with asyncio.timeout(CONNECTED_WITHIN_S):
        await asking.wait_connected()


async def lost(asking: Client) -> bool:
    return not asking.connected


@pytest.mark.parametrize("way", ["handle", "accept"])
async def test_every_operation_gets_its_own_result(way: str) -> None:
    async with stage(way) as on:
        texts = ["x" * (n % 50) for n in range(1000)]
        assert await asyncio.gather(*(ask(on.client, text) for text in texts)) == [
            len(text) for text in texts
        ]


async def test_operations_gather_under_load_and_go_at_once_when_idle() -> None:
    async with stage() as on:
        await ask(on.client, "first")
        begun = asyncio.get_running_loop().time()
        for _ in range(20):
            await ask(on.client, "alone")
        alone_s = (asyncio.get_running_loop().time() - begun) / 20
        assert on.servicer.sizes == [1] * 21
        await asyncio.gather(*(ask(on.client, "together") for _ in range(500)))
        assert len(on.servicer.sizes) - 21 < 100, "500 operations in far fewer batches"
        assert alone_s < 0.5


async def test_what_one_message_cannot_hold_goes_in_several() -> None:
    async with stage(message_bytes_max=100_000) as on:
        await ask(on.client, "first")
        waiting = asyncio.create_task(ask(on.client, "wait"))
        texts = ["x" * 40_000 for _ in range(20)]
        assert await asyncio.gather(*(ask(on.client, text) for text in texts)) == [40_000] * 20
        on.servicer.gate.set()
        assert await waiting == len("wait")


async def test_an_operation_too_large_for_any_message_fails_alone_and_unsent() -> None:
    async with stage(message_bytes_max=100_000) as on:
        await ask(on.client, "first")
        waiting = asyncio.create_task(ask(on.client, "wait"))
        asked = (ask(on.client, "x" * size) for size in (10, 100_000, 20))
        small, large, last = await asyncio.gather(*asked, return_exceptions=True)
        assert (small, last) == (10, 20)
        assert isinstance(large, RequestTooLarge)
        assert large.size_bytes > large.size_bytes_max == 100_000
        on.servicer.gate.set()
        assert await waiting == len("wait")


async def test_operations_are_served_inside_the_pipeline() -> None:
    async with stage(token="tps_router") as on:
        tracer = tracing.Tracer("test")
        with tracer.span("outer"):
            await ask(on.client, "hello")
        assert on.servicer.callers == {"service:router"}
        assert on.servicer.methods == {"/turnpike.budget.v1.BudgetService/Apply/release"}


@pytest.mark.parametrize(("text", "reason"), [("refuse", "STORE_UNAVAILABLE"), ("crash", "INTERNAL")])
async def test_a_refusal_is_a_result(text: str, reason: str) -> None:
    async with stage() as on:
        result = await on.client.call(operation(text), timeout_s=5)
        assert error_pb2.ErrorReason.Name(result.refusal.reason) == f"ERROR_REASON_{reason}"
        assert "hunter2" not in result.refusal.message
        assert await ask(on.client, "next") == 4


async def test_an_operation_that_is_late_ends_on_both_sides() -> None:
    async with stage() as on:
        with pytest.raises(DeadlineExceeded) as caught:
            await ask(on.client, "wait", timeout_s=0.2)
        assert caught.value.begun
        assert await asyncio.wait_for(on.servicer.cancelled.get(), 5) == "wait"


async def test_an_operation_that_is_left_is_cancelled_there() -> None:
    async with stage() as on:
        asking = asyncio.create_task(ask(on.client, "wait"))
        assert await asyncio.wait_for(on.servicer.begun.get(), 5) == "wait"
        asking.cancel()
        assert await asyncio.wait_for(on.servicer.cancelled.get(), 5) == "wait"
        assert await ask(on.client, "next") == 4


async def test_a_conversation_has_several_results_and_follow_ups() -> None:
    async with AsyncExitStack() as stack:
        servicer = Batches("converse")
        running = await stack.enter_async_context(serving(batches_app(servicer), EchoSettings()))
        remote = await stack.enter_async_context(connect("batches", str(running.address)))
        asking: Client = await stack.enter_async_context(
            BatchClient(
                remote,
                budget_pb2_grpc.BudgetServiceStub(remote.channel).Apply,
                pack=lambda operations: budget_pb2.ApplyRequest(operations=operations),
                unpack=lambda response: response.results,
                is_last=lambda result: result.HasField("hold"),
                cancel=lambda: Operation(renew_lease=budget_pb2.RenewLeaseRequest()),
            )
        )
        heard = []
        async with asking.exchange(operation("6"), timeout_s=5) as exchange:
            async for result in exchange:
                if result.HasField("release"):
                    heard.append(result.release.ledger_sequence)
                    if heard[-1] % 2:
                        exchange.send(Operation(commit=budget_pb2.CommitRequest()))
        assert heard == list(range(6))
        async with asking.exchange(operation("6"), timeout_s=5) as exchange:
            await anext(exchange)
        assert await asyncio.wait_for(servicer.cancelled.get(), 5) == "converse"


async def test_a_lost_stream_leaves_what_was_sent_unknown_and_heals() -> None:
    servicer = Batches()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        running = await first.enter_async_context(serving(batches_app(servicer), EchoSettings(drain_s=0.0)))
        remote = await stack.enter_async_context(connect("batches", str(running.address)))
        asking = await stack.enter_async_context(client(remote))
        await accepted(asking)
        hanging = asyncio.create_task(ask(asking, "wait"))
        assert await asyncio.wait_for(servicer.begun.get(), 5) == "wait"
        await first.aclose()
        with pytest.raises(OutcomeUnknown):
            await hanging
        with pytest.raises(ServiceUnavailable):
            await ask(asking, "nobody there")
        again = Batches()
        listen = Address("127.0.0.1", running.address.port)
        await stack.enter_async_context(serving(batches_app(again), EchoSettings(listen=listen)))
        async with asyncio.timeout(10):
            await asking.wait_connected()
        assert await ask(asking, "healed") == 6


async def test_a_restart_is_bridged_by_patience() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        running = await first.enter_async_context(serving(batches_app(Batches()), EchoSettings(drain_s=0.0)))
        remote = await stack.enter_async_context(connect("batches", str(running.address)))
        asking = await stack.enter_async_context(client(remote))
        await accepted(asking)
        assert await ask(asking, "before") == 6
        await first.aclose()
        await until(lambda: lost(asking))  # what is sent before that is of unknown outcome, not patient
        waiting = asyncio.create_task(ask(asking, "meanwhile"))
        listen = Address("127.0.0.1", running.address.port)
        await stack.enter_async_context(serving(batches_app(Batches()), EchoSettings(listen=listen)))
        assert await waiting == 9


async def test_draining_finishes_what_was_begun() -> None:
    servicer = Batches()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        running = await first.enter_async_context(serving(batches_app(servicer), EchoSettings(drain_s=5.0)))
        remote = await stack.enter_async_context(connect("batches", str(running.address)))
        asking = await stack.enter_async_context(client(remote))
        await accepted(asking)
        waiting = asyncio.create_task(ask(asking, "wait"))
        assert await asyncio.wait_for(servicer.begun.get(), 5) == "wait"
        draining = asyncio.create_task(first.aclose())
        await asyncio.sleep(0)
        servicer.gate.set()
        assert await waiting == 4
        await asyncio.wait_for(draining, 4)


async def test_a_wrong_token_is_said_to_every_operation() -> None:
    servicer = Batches()
    settings = EchoSettings(service_tokens={"router": Secret("tps_router")})
    async with (
        serving(batches_app(servicer), settings) as running,
        connect("batches", str(running.address), token="tps_wrong") as remote,
        client(remote) as asking,
    ):
        with pytest.raises(RemoteError) as caught:
            await ask(asking, "hello")
        assert caught.value.reason == "CREDENTIALS_INVALID"


async def test_the_window_holds_callers_back() -> None:
    async with stage(window=2) as on:
        held = [asyncio.create_task(ask(on.client, "wait")) for _ in range(2)]
        for _ in held:
            await asyncio.wait_for(on.servicer.begun.get(), 5)
        with pytest.raises(DeadlineExceeded) as caught:
            await ask(on.client, "third", timeout_s=0.1)
        assert not caught.value.begun
        on.servicer.gate.set()
        assert await asyncio.gather(*held) == [4, 4]
        assert await ask(on.client, "third") == 5


async def test_leaving_the_client_fails_what_is_under_way() -> None:
    async with stage() as on:
        asking = asyncio.create_task(ask(on.client, "wait"))
        await asyncio.wait_for(on.servicer.begun.get(), 5)
        await on.client.__aexit__(None, None, None)
        with pytest.raises(OutcomeUnknown):
            await asking


async def test_who_is_turned_away_leaves_nothing_behind() -> None:
    class Prompt:
        pass

    async def turned_away(asking: Client, prompt: Prompt) -> Exception:
        with pytest.raises(ServiceUnavailable) as caught:
            await ask(asking, "nobody there")
        assert prompt is not None
        return caught.value

    async with connect("batches", "127.0.0.1:1") as remote, client(remote) as asking:
        prompts = [Prompt() for _ in range(20)]
        left = [weakref.ref(prompt) for prompt in prompts]
        first = await turned_away(asking, prompts[0])
        for prompt in prompts[1:]:
            assert await turned_away(asking, prompt) is not first
        del first, prompt, prompts
        gc.collect()
        assert not any(prompt() for prompt in left)
