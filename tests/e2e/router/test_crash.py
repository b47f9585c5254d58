"""A router that is killed in the middle of an answer: the witness charges what was said, nothing stays held."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.chassis.channel import connect
from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from tests.support.budget_admin import SERVICE
from tests.support.conditions import until
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import CALL_S, Road, request, road
from tests.support.vendors import Waiting, speak
from turnpike.router.v1 import router_pb2, router_pb2_grpc

STOP_S = 20.0


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    async with road(postgres_dsn, tmp_path, {"one": vendor.base_url}) as running:
        yield running


@asynccontextmanager
async def router_process(on: Road, folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m services.router` beside the road's own, with the address it serves at."""
    ready = folder / "router-ready"
    environment = {
        **os.environ,
        "TURNPIKE_LISTEN": "127.0.0.1:0",
        "TURNPIKE_READY_FILE": str(ready),
        "TURNPIKE_POSTGRES_DSN": on.dsn,
        "TURNPIKE_BUDGET_ADDRESS": on.budgets.address,
        "TURNPIKE_PROVIDERS_ADDRESS": on.providers,
        "TURNPIKE_SERVICE_TOKEN": SERVICE,
        "TURNPIKE_DRAIN_S": "5",
    }
    environment.pop("TURNPIKE_REDIS_URL", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.router", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:

        async def served() -> str | None:
            assert process.returncode is None, "the router ended before it served"
            return ready.read_text().strip() if ready.exists() else None

        yield process, await until(served, within_s=40.0)
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(STOP_S):
                await process.wait()


async def first_word(address: str, key: str, spoken: asyncio.Event) -> str:
    """Streams one request; returns how it ended."""
    async with connect("router", address, token=key) as remote:
        stub = router_pb2_grpc.RouterServiceStub(remote.channel)

        async def usable() -> bool:
            listed = await remote.unary(stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=CALL_S)
            return any(item.usable for item in listed.models)

        await until(usable)
        asked = router_pb2.StreamGenerateRequest(request=request(request_id="crash"))
        try:
            async with remote.stream(stub.StreamGenerate, asked, timeout_s=CALL_S) as events:
                async for event in events:
                    if event.HasField("delta"):
                        spoken.set()
        except TurnpikeError as error:
            return error.reason
        return "finished"


async def test_a_killed_router_leaves_nothing_held(on: Road, vendor: RawVendor, tmp_path: Path) -> None:
    waiting = vendor.script = Waiting()
    async with router_process(on, tmp_path) as (process, address):
        spoken = asyncio.Event()
        asking = asyncio.create_task(first_word(address, on.tenant.key_secret, spoken))
        await asyncio.wait_for(spoken.wait(), 60)
        os.kill(process.pid, signal.SIGKILL)
        assert await asking in ("OUTCOME_UNKNOWN", "SERVICE_UNAVAILABLE")
        await process.wait()
        async with asyncio.timeout(5):
            await waiting.gone.wait()
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]
    hold, commit = await on.ledger()
    assert 0 < commit.amount.nanos < hold.amount.nanos
    vendor.script = speak

    with pytest.raises(RemoteError) as raised:
        await on.stream(request_id="crash")
    assert raised.value.reason == "REQUEST_ALREADY_SETTLED"


async def test_a_router_that_is_told_to_stop_finishes_what_it_has_begun(
    on: Road, vendor: RawVendor, tmp_path: Path
) -> None:
    async with router_process(on, tmp_path) as (process, address):
        spoken = asyncio.Event()
        asking = asyncio.create_task(first_word(address, on.tenant.key_secret, spoken))
        await asyncio.wait_for(spoken.wait(), 60)
        process.terminate()
        assert await asking == "finished"
        assert await process.wait() == 0
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]
