"""A batch as messages: one nearly always, several where one would be too large."""

from collections.abc import Sequence

import pytest

from services.chassis.batch import packed
from turnpike.budget.v1 import budget_pb2 as pb


def pack(results: Sequence[pb.ApplyResult]) -> pb.ApplyResponse:
    return pb.ApplyResponse(results=results)


def result(number: int, size: int) -> pb.ApplyResult:
    return pb.ApplyResult(operation_id=number, refusal=pb.Refusal(message="x" * size))


def test_a_batch_that_fits_is_one_message() -> None:
    [message] = packed([result(number, 10) for number in range(256)], pack, 1 << 20)
    assert message.message == pack(message.items)
    assert message.size_bytes == message.message.ByteSize()


@pytest.mark.parametrize("bytes_max", [1_000, 5_000, 50_000])
def test_every_item_is_in_one_message_in_order_and_only_a_lone_one_is_too_large(bytes_max: int) -> None:
    results = [result(number, 20_000 if number in (0, 40, 99) else 300) for number in range(100)]
    messages = list(packed(results, pack, bytes_max))
    assert [item.operation_id for message in messages for item in message.items] == list(range(100))
    for message in messages:
        assert message.size_bytes <= bytes_max or len(message.items) == 1
