"""The parts of a record that have one value per candidate or task, written as bytes of the wire and merged at once.

A packed column is its field's tag, its length and the numbers themselves, little-endian: what an array holds already.
Turning each number into an object of Python first, and that back, was half of what a record costs.
"""

import math
import struct
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

import numpy as np

from services.router.domain import explain
from services.router.domain.board import Board
from services.router.domain.constraints import Rule
from services.router.domain.estimates import TaskProbabilities
from services.router.domain.plan import Decision
from turnpike.router.v1 import decision_pb2 as pb

_LENGTH_DELIMITED: Final = 2
_FIXED64: Final = 1


def order_of(decision: Decision) -> list[int]:
    """The candidates that were looked at, the plan's first, then the other eligible ones, the dropped ones last."""
    order = [planned.index for planned in decision.plan]
    planned = set(order)
    codes, utility = decision.codes.tolist(), decision.utility.tolist()
    rest = [
        (code != 0, -utility[index] if math.isfinite(utility[index]) else 0.0, index)
        for index, code in enumerate(codes)
        if index not in planned and code != Rule.NOT_ASKED_FOR
    ]
    rest.sort()
    return order + [index for _, _, index in rest]


def fill_pb_table(message: pb.Decision, decision: Decision) -> None:
    """The candidates by columns, in their order."""
    question, expectation, order = decision.question, decision.expectation, order_of(decision)
    weather = question.weather
    models, endpoints = _names_of(question.board)
    utility = decision.utility
    places = np.array(order, np.intp)
    floats = np.array(
        (
            expectation.quality,
            expectation.quality_low,
            expectation.quality_high,
            decision.ttft_s,
            decision.duration_s,
            weather.failure_rate,
            expectation.quality if expectation.shipped is None else expectation.shipped,
        ),
        "<f4",
    ).take(places, axis=1)
    doubles = np.array((decision.cost_nanos, np.where(np.isfinite(utility), utility, 0.0)), "<f8").take(
        places, axis=1
    )
    quality, low, high, ttft, duration, failures, shipped = floats
    parts = [
        *[models[index] for index in order],
        *[endpoints[index] for index in order],
        _QUALITY + _packed(quality),
        _QUALITY_LOW + _packed(low),
        _QUALITY_HIGH + _packed(high),
        _COST + _packed(doubles[0]),
        _TTFT + _packed(ttft),
        _DURATION + _packed(duration),
        _FAILURES + _packed(failures),
        _UTILITY + _packed(doubles[1]),
        _BREAKERS + _packed(weather.breaker.take(places).astype(np.uint8)),  # below 128 a varint is its byte
    ]
    if expectation.shipped is not None:
        parts.append(_SHIPPED + _packed(shipped))
    table = message.candidate_table
    if order:
        table.MergeFromString(b"".join(parts))
    table.output_tokens.extend([expectation.tokens_of(index) for index in order])
    table.worst_case_nanos.extend([planned.worst_case_nanos for planned in decision.plan])
    dropped: list[int] = decision.codes.take(places).tolist()
    if any(dropped):
        found = list(zip(order, dropped, strict=True))
        table.excluded_by.extend(
            [explain.rule_name(decision, index) if code else "" for index, code in found]
        )
        table.excluded_reasons.extend(
            [explain.finding(decision, index) if code else "" for index, code in found]
        )


def fill_pb_belief(message: pb.Decision, belief: TaskProbabilities) -> None:
    """The task belief, likeliest first."""
    message.MergeFromString(
        b"".join(
            [
                _task(task) + _DOUBLE.pack(probability)
                for task, probability in sorted(belief.items(), key=_PROBABILITY, reverse=True)
            ]
        )
    )


_PROBABILITY = itemgetter(1)
_DOUBLE: Final = struct.Struct("<d")


def _tag(kind: Any, name: str, wire: int = _LENGTH_DELIMITED) -> bytes:
    return _varint(kind.DESCRIPTOR.fields_by_name[name].number << 3 | wire)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _delimited(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _packed(column: Any) -> bytes:
    return _delimited(column.tobytes())


_QUALITY, _QUALITY_LOW, _QUALITY_HIGH, _COST, _TTFT, _DURATION, _FAILURES, _UTILITY, _BREAKERS, _SHIPPED = (
    _tag(pb.CandidateTable, name)
    for name in (
        "quality",
        "quality_low",
        "quality_high",
        "cost_nanos",
        "time_to_first_token_s",
        "duration_s",
        "failure_rate",
        "utility",
        "breakers",
        "shipped_quality",
    )
)

TASKS_KEPT: Final = 1_024
"""Tasks whose beginnings are remembered: the classifier's, and those that callers declare."""

_tasks: dict[str, bytes] = {}


def _task(task: str) -> bytes:
    """All of a TaskProbability but the eight bytes of its probability."""
    found = _tasks.get(task)
    if found is None:
        if len(_tasks) >= TASKS_KEPT:
            _tasks.clear()
        named = _tag(pb.TaskProbability, "task") + _delimited(task.encode())
        named += _tag(pb.TaskProbability, "probability", _FIXED64)
        found = _tasks[task] = _tag(pb.Decision, "task_belief") + _varint(len(named) + 8) + named
    return found


BOARDS_KEPT: Final = 64

_boards: dict[int, tuple[Board, list[bytes], list[bytes]]] = {}


def _names_of(board: Board) -> tuple[list[bytes], list[bytes]]:
    """The names of a board's models and endpoints as elements of their columns."""
    found = _boards.get(id(board))
    if found is None or found[0] is not board:
        if len(_boards) >= BOARDS_KEPT:
            _boards.clear()
        models = _column("models", board.model_names)
        found = _boards[id(board)] = (board, models, _column("endpoint_ids", board.endpoint_ids))
    return found[1], found[2]


def _column(name: str, texts: Iterable[str]) -> list[bytes]:
    tag = _tag(pb.CandidateTable, name)
    return [tag + _delimited(text.encode()) for text in texts]
