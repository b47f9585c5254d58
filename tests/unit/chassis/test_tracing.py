import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.chassis import tracing
from services.chassis.tracing import RemoteParent, Span, Tracer

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        GOOD.upper(),
        GOOD.replace("00-", "ff-", 1),
        GOOD + "-more",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
    ],
)
def test_a_malformed_traceparent_is_no_parent(text: str) -> None:
    assert RemoteParent.parse(text) is None


def test_a_traceparent_goes_round() -> None:
    parent = RemoteParent.parse(GOOD)
    assert parent is not None
    assert parent.sampled
    child = Tracer("x").span("child", parent=parent)
    assert child.traceparent.split("-")[1] == GOOD.split("-")[1]
    assert child.parent_id == 0xB7AD6B7169203331
    assert RemoteParent.parse(GOOD.replace("00-", "cc-", 1) + "-future") is not None, "later versions may add"


def test_the_caller_decides_about_sampling() -> None:
    parent = RemoteParent.parse(GOOD[:-1] + "0")
    assert not Tracer("x", ratio=1.0).span("child", parent=parent).sampled


def test_a_ratio_is_kept_and_replicas_agree() -> None:
    one, other = Tracer("x", ratio=0.25), Tracer("y", ratio=0.25)
    spans = [one.span("root") for _ in range(4000)]
    assert 800 < sum(span.sampled for span in spans) < 1200
    assert all(other.samples(span.trace_id) == span.sampled for span in spans)


async def test_spans_nest_across_awaits_and_tasks_but_not_beside() -> None:
    async def child(name: str) -> Span:
        with tracing.span(name) as span:
            await asyncio.sleep(0)
            return span

    with Tracer("x").span("outer") as outer:
        first, second = await asyncio.gather(child("first"), child("second"))
    assert first.parent_id == second.parent_id == outer.span_id
    assert tracing.current() is None
    assert tracing.traceparent() == ""


async def test_a_generator_closed_elsewhere_does_not_break() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        with tracing.span("numbers"):
            yield 1
            yield 2

    generator = numbers()

    async def first() -> int:
        return await anext(generator)

    assert await asyncio.create_task(first()) == 1
    await asyncio.create_task(generator.aclose())
    assert tracing.current() is None
