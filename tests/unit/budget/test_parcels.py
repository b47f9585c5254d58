"""What an owner takes for its next batch, and when it waits for company."""

import asyncio
from collections.abc import Sequence

import pytest

from services.budget.domain.operations import GetAsk
from services.budget.use_cases import parcels
from services.budget.use_cases.parcels import BATCH_MAX, GATHERED, HALVED_FROM, Intake, Outcome, Parcel
from services.kernel.errors import StoreUnavailable

ASK = GetAsk("req-1", 1, "")


def parcel(operations: int, told: list[Sequence[Outcome]] | None = None) -> Parcel:
    told = [] if told is None else told
    return Parcel([ASK] * operations, [0.0] * operations, told.append)


def sizes(taken: Sequence[Parcel]) -> list[int]:
    return [len(each.asks) for each in taken]


async def test_what_waits_is_taken_in_order_and_whole() -> None:
    intake = Intake()
    for operations in (3, 1, 2):
        intake.put(parcel(operations))
    assert len(intake) == 6
    assert sizes(intake.take()) == [3, 1, 2]
    assert len(intake) == 0
    assert intake.take() == []


async def test_callers_that_have_fallen_into_step_are_halved() -> None:
    intake = Intake()
    for _ in range(4):
        intake.put(parcel(HALVED_FROM // 4))
    assert sizes(intake.take()) == [HALVED_FROM // 4] * 2
    intake.written_in(0.0)  # while the other half waits: they are out of step
    for _ in range(2):
        intake.put(parcel(HALVED_FROM // 4))
    assert sizes(intake.take()) == [HALVED_FROM // 4] * 4
    intake.written_in(0.0)  # nobody came meanwhile: they are in step again
    for _ in range(3):
        intake.put(parcel(HALVED_FROM // 4))
    assert sizes(intake.take()) == [HALVED_FROM // 4] * 3  # too few to be worth two batches


async def test_a_batch_has_a_bound() -> None:
    intake = Intake()
    intake.put(parcel(1))
    intake.written_in(0.0)
    assert sizes(intake.take()) == [1]
    for _ in range(3):
        intake.put(parcel(BATCH_MAX - 1))
    assert sizes(intake.take()) == [BATCH_MAX - 1] * 2
    assert sizes(intake.take()) == [BATCH_MAX - 1]


async def test_who_comes_after_a_pause_waits_for_nobody() -> None:
    intake = Intake()
    intake.put(parcel(1))
    with pytest.raises(StopIteration):
        intake.gather().send(None)  # done without having waited


async def test_company_ends_the_wait_that_follows_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "GATHER_S_MAX", 3600.0)
    intake = Intake()
    intake.written_in(3600.0)
    intake.put(parcel(1))
    gathering = asyncio.create_task(intake.gather())
    await asyncio.sleep(0)
    assert not gathering.done()
    intake.put(parcel(GATHERED))
    await gathering
    assert sizes(intake.take()) == [1, GATHERED]


async def test_nobody_is_waited_for_once_it_closes() -> None:
    intake = Intake()
    waiting = asyncio.create_task(intake.wait(None))
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.close()
    await waiting
    await intake.wait(None)


async def test_outcomes_are_told_once() -> None:
    told: list[Sequence[Outcome]] = []
    each = parcel(2, told)
    why = StoreUnavailable("postgres")
    each.refuse(why)
    each.answer([])
    assert told == [[why, why]]
