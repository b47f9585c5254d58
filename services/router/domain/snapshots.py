"""What decisions are made from, as content that outlives this process: taken from a question, and a question again.

Much of a question is the same for many requests, so it is kept once and named by its content: the board (changes with
the catalogue or a price), the weather (each second, while something is measured), the terms (a caller's rules and what
they forbid), the estimates (with the board or the prior) and the outcomes that moved them (with a verdict, once a
second at most). A decision itself adds what belongs to its request alone, some 150 bytes.
"""

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.kernel.pricing import ModelPrice
from services.router.domain.board import Board, Integers, Weather
from services.router.domain.catalogue import Catalogue, Health
from services.router.domain.codec import CodecError, decoded, encoded
from services.router.domain.conditions import BreakerState, Condition, Conditions, Speed
from services.router.domain.constraints import Standing
from services.router.domain.estimates import Moves, Tables
from services.router.domain.plan import Question
from services.router.domain.policy import Rules, Share
from services.router.domain.prices import PriceView
from services.router.domain.utility import Floats

ID_BYTES = 16
"""Of a SHA-256: two different contents with the same name are not met by chance."""

CONTENT_BYTES_MAX = 16 * 1024 * 1024
"""Of one snapshot, unpacked: a board of a few thousand endpoints has some 3 MB."""

TAKEN_KEPT: Mapping[str, int] = {
    "board": 64,
    "weather": 64,
    "terms": 1_024,
    "estimates": 128,
    "outcomes": 128,
}
"""Snapshots whose names are remembered, so that each is written once and not for every decision: with what they are
of, some 20 MB at a few hundred endpoints."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A content and the name that follows from it."""

    snapshot_id: bytes
    content: bytes
    """Compressed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The snapshots of one question."""

    board: Snapshot
    weather: Snapshot
    terms: Snapshot
    estimates: Snapshot
    outcomes: Snapshot | None

    @property
    def all(self) -> tuple[Snapshot, ...]:
        """All of them."""
        found = (self.board, self.weather, self.terms, self.estimates)
        return found if self.outcomes is None else (*found, self.outcomes)


@dataclass(frozen=True, slots=True, eq=False)
class _Board:
    catalogue: Catalogue
    price_revision: int
    prices: Mapping[str, ModelPrice]
    stand_in: ModelPrice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Weather:
    """Columns over the board's candidates. NaN of a rest: there is none."""

    health: Integers
    breaker: Integers
    retry_at_s: Floats
    ttft_s: Floats
    ttft_s_spread: Floats
    tokens_per_s: Floats
    failure_rate: Floats
    samples: Floats
    messages: tuple[str, ...] = ()
    """Empty: none has one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    rules: Rules
    codes: Integers
    findings: tuple[str, ...]
    language_required: bool = False
    shares: tuple[Share, ...] = ()


class Archive:
    """Takes the snapshots of questions: each content is written once, however many decisions are made from it."""

    def __init__(self) -> None:
        self._taken: dict[str, OrderedDict[Hashable, tuple[object, Snapshot]]] = {
            kind: OrderedDict() for kind in TAKEN_KEPT
        }

    def take(self, question: Question) -> Taken:
        """The snapshots that a question is made from."""
        board, weather, standing = question.board, question.weather, question.standing
        rules, shares = question.rules, question.shares
        tables = question.estimator.tables(board, tuple(question.belief))
        moves = tables.outcomes
        return Taken(
            board=self._once("board", id(board), board, lambda: _content_of_board(board)),
            weather=self._once("weather", id(weather), weather, lambda: _content_of_weather(weather)),
            terms=self._once(
                "terms",
                (id(rules), id(standing), shares),
                (rules, standing),
                lambda: _Terms(rules, standing.codes, standing.findings, standing.language_required, shares),
            ),
            estimates=self._once(
                "estimates",
                (id(tables.quality), id(tables.half_width)),
                tables,
                lambda: _Estimates(tables.tasks, tables.quality, tables.half_width, tables.complete),
            ),
            outcomes=None if moves is None else self._once("outcomes", id(moves), moves, lambda: moves),
        )

    def _once(self, kind: str, key: Hashable, of: object, content: Callable[[], object]) -> Snapshot:
        # By identity, as all of these are replaced and never changed; they are held on to, so that no other takes
        # their addresses.
        taken = self._taken[kind]
        found = taken.get(key)
        if found is None:
            found = taken[key] = (of, named(encoded(content())))
            if len(taken) > TAKEN_KEPT[kind]:
                taken.popitem(last=False)
        return found[1]


def named(content: bytes) -> Snapshot:
    """A content by its name."""
    return Snapshot(hashlib.sha256(content).digest()[:ID_BYTES], zlib.compress(content))


@dataclass(frozen=True, slots=True, eq=False)
class _Estimates:
    tasks: tuple[str, ...]
    quality: Floats
    half_width: Floats
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """What a question was made from, read back."""

    board: Board
    weather: Weather
    rules: Rules
    standing: Standing
    shares: tuple[Share, ...]
    tables: Tables


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a question's snapshots. `outcomes` empty: there were none."""

    board: bytes
    weather: bytes
    terms: bytes
    estimates: bytes
    outcomes: bytes


BOARDS_KEPT = 8
"""Boards read back that are remembered, a megabyte each at a few hundred endpoints: reading one takes ten times as long
as all else of a replay, and whoever looks into what happened looks at decisions of one time."""


class Boards:
    """Boards that were read back, by their content's name. For one thread at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Board] = OrderedDict()

    def of(self, snapshot_id: bytes, read: Callable[[], Board]) -> Board:
        """The board of this name, read if it is not remembered."""
        board = self._kept.get(snapshot_id)
        if board is None:
            board = self._kept[snapshot_id] = read()
            if len(self._kept) > BOARDS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(snapshot_id)
        return board


def restored(
    names: Names, contents: Mapping[bytes, bytes], statistics_version: int, boards: Boards
) -> Restored:
    """Raises KeyError if a content is missing, CodecError if one is damaged or of another version of this module."""

    def read(kind: Any, snapshot_id: bytes) -> Any:
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(contents[snapshot_id], CONTENT_BYTES_MAX)
        except zlib.error as error:
            raise CodecError(f"damaged: {error}") from error
        if hashlib.sha256(content).digest()[:ID_BYTES] != snapshot_id:
            raise CodecError("it is not the content that its name says")
        return decoded(kind, content)

    board = boards.of(names.board, lambda: _board_of(read(_Board, names.board)))
    terms: _Terms = read(_Terms, names.terms)
    estimates: _Estimates = read(_Estimates, names.estimates)
    moves: Moves | None = read(Moves, names.outcomes) if names.outcomes else None
    return Restored(
        board,
        Weather(board, _conditions_of(read(_Weather, names.weather), board, statistics_version)),
        terms.rules,
        Standing(terms.codes, terms.findings, terms.language_required),
        terms.shares,
        Tables(estimates.tasks, estimates.quality, estimates.half_width, estimates.complete, moves),
    )


def _content_of_board(board: Board) -> _Board:
    prices = board.prices
    models = {name: model for name, model in board.models.items() if model.endpoints}
    return _Board(
        Catalogue(board.catalogue_revision, models),
        prices.revision,
        {name: price for name, price in prices.prices.items() if name in models},
        prices.stand_in,
    )


def _board_of(content: _Board) -> Board:
    return Board(content.catalogue, PriceView(content.price_revision, content.prices, content.stand_in))


def _content_of_weather(weather: Weather) -> _Weather:
    # Not its version: what nobody measures stays the same, and so does its name.
    of = weather.conditions.of
    rows = [of(endpoint_id) for endpoint_id in weather.board.endpoint_ids]
    return _Weather(
        weather.health.astype(np.int8),
        weather.breaker.astype(np.int8),
        np.array([float("nan") if row.retry_at_s is None else row.retry_at_s for row in rows], np.float64),
        weather.ttft_s,
        weather.ttft_s_spread,
        weather.tokens_per_s,
        weather.failure_rate,
        weather.samples,
        tuple(row.message for row in rows) if any(row.message for row in rows) else (),
    )


def _conditions_of(content: _Weather, board: Board, version: int) -> Conditions:
    columns = (
        content.health.tolist(),
        content.messages or ("",) * len(board),
        content.retry_at_s.tolist(),
        content.breaker.tolist(),
        content.ttft_s.tolist(),
        content.ttft_s_spread.tolist(),
        content.tokens_per_s.tolist(),
        content.failure_rate.tolist(),
        content.samples.tolist(),
    )
    return Conditions(
        version,
        {
            endpoint_id: Condition(
                Health(health),
                message,
                None if retry_at_s != retry_at_s else retry_at_s,
                BreakerState(breaker),
                Speed(*speed),
            )
            for endpoint_id, health, message, retry_at_s, breaker, *speed in zip(
                board.endpoint_ids, *columns, strict=True
            )
        },
    )
