"""Vendors that stall, cut, fail and refuse, under load, on two replicas: whoever some model can serve is served."""

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from tests.support.conditions import until
from tests.support.raw_vendor import Connection, Request, raw_vendor
from tests.support.road import Road, Vendor, replica, request, road
from tests.support.vendors import failing, speak, stall
from turnpike.router.v1 import router_pb2, router_pb2_grpc

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

LOAD_S = 20.0
WORKERS = 8
DEADLINE_S = 20.0


class Faulty:
    """A vendor of whose answers a share goes wrong, stalls and truncations half of it."""

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self._random = random.Random(seed)
        self.faults: Counter[str] = Counter()

    async def __call__(self, request: Request, connection: Connection) -> None:
        if self._random.random() >= self.share:
            await speak(request, connection)
            return
        fault = self._random.choice(("stall", "truncate", "stall", "truncate", "500", "429", "reset"))
        self.faults[fault] += 1
        if fault == "stall":
            await stall(request, connection)
        elif fault == "truncate":
            await connection.begin_stream()
            await connection.end_stream()
        elif fault == "reset":
            connection.reset()
        else:
            await failing(int(fault), retry_after="1")(request, connection)


async def one(remote: Remote, request_id: str) -> str:
    """One streamed request; returns how it ended."""
    stub = router_pb2_grpc.RouterServiceStub(remote.channel)
    asked = router_pb2.StreamGenerateRequest(
        request=request(request_id=request_id, routing={"attempts_max": 8})
    )
    last = ""
    try:
        async with remote.stream(stub.StreamGenerate, asked, timeout_s=DEADLINE_S) as events:
            async for event in events:
                last = str(event.WhichOneof("event"))
    except RemoteError as error:
        return f"{error.reason}: {error.message}"
    except TurnpikeError as error:
        return type(error).__name__
    return last


async def test_whoever_some_model_can_serve_is_served(postgres_dsn: str, tmp_path: Path) -> None:
    faulty = [Faulty(0.5, seed) for seed in range(3)]
    async with (
        raw_vendor(faulty[0]) as first,
        raw_vendor(faulty[1]) as second,
        raw_vendor(faulty[2]) as third,
        raw_vendor(speak) as sound,
    ):
        models = {
            "first": Vendor(first.base_url, quality=0.9),
            "second": Vendor(second.base_url, quality=0.85),
            "third": Vendor(third.base_url, quality=0.8),
            "sound": Vendor(sound.base_url, quality=0.5, input_rate=5 * 10**9, output_rate=10**10),
        }
        async with road(postgres_dsn, tmp_path, models) as on, replica(on) as other:
            ended: Counter[str] = Counter()
            took: list[float] = []
            until_s = time.monotonic() + LOAD_S

            async def worker(number: int) -> None:
                remote = on.router if number % 2 else other
                count = 0
                while time.monotonic() < until_s:
                    begun = time.monotonic()
                    ended[await one(remote, f"w{number}-{count}")] += 1
                    took.append(time.monotonic() - begun)
                    count += 1

            await asyncio.gather(*(worker(number) for number in range(WORKERS)))
            requests = sum(ended.values())
            print(f"{requests} requests: {dict(ended)}; faults {[dict(item.faults) for item in faulty]}")
            print(f"p50 {sorted(took)[requests // 2]:.2f} s, p99 {sorted(took)[requests * 99 // 100]:.2f} s")
            assert ended == {"finished": requests}
            assert sum(sum(item.faults.values()) for item in faulty) > 20
            await _books_are_right(on)


async def _books_are_right(on: Road) -> None:
    """Every hold is settled, once; attempts per request are bounded."""

    async def settled() -> Counter[tuple[str, int, str]] | None:
        found: Counter[tuple[str, int, str]] = Counter()
        for entry in await on.ledger():
            found[entry.key.request_id, entry.key.attempt, "hold" if entry.kind == 1 else "settled"] += 1
        holds = {key[:2] for key in found if key[2] == "hold"}
        return found if all(found[(*key, "settled")] for key in holds) else None

    entries = await until(settled)
    assert set(entries.values()) == {1}
    assert max(attempt for _, attempt, _ in entries) <= 8


async def test_a_vendor_that_recovers_is_found_within_seconds(postgres_dsn: str, tmp_path: Path) -> None:
    async with raw_vendor(failing(500)) as better, raw_vendor(speak) as worse:
        models = {
            "better": Vendor(better.base_url, quality=0.9),
            "worse": Vendor(worse.base_url, quality=0.5),
        }
        async with road(postgres_dsn, tmp_path, models) as on:
            for _ in range(8):
                assert (await on.generate()).outcome.model == "local/worse"
            before = len(better.requests)
            for _ in range(5):
                await on.generate()
            assert len(better.requests) - before <= 1  # its breaker is open
            better.script = speak
            recovered = time.monotonic()

            async def back() -> bool:
                return (await on.generate()).outcome.model == "local/better"

            await until(back)
            print(f"found {time.monotonic() - recovered:.1f} s after it recovered")
