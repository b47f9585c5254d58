"""The candidates of one organisation as arrays: everything a decision compares, laid out once per change.

A board is immutable. It is made anew when the catalogue or the prices change, some milliseconds a time, so that a
decision over hundreds of candidates is a few dozen array operations.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from services.kernel.pricing import TOKENS_PER_RATE, ModelPrice, WorstCases
from services.router.domain.catalogue import Catalogue, EndpointFacts, ModelFacts, ModelKind
from services.router.domain.conditions import BreakerState, Conditions
from services.router.domain.prices import PriceView
from services.router.domain.utility import Floats, delay_decades

Integers = npt.NDArray[np.int64]

UNLIMITED: Final = 2**62
"""Stands for `no limit is stated` where a limit is compared."""

CANDIDATES_MAX: Final = 4_096
"""Endpoints on one board; more are a mistake in a catalogue rather than a deployment."""

FAILURE_SHARE_MIN: Final = 0.05
"""An endpoint that always fails counts as twenty times its delay, not as for ever."""

TOKENS_PER_S_MIN: Final = 0.1

DELAYS_KEPT: Final = 256
"""Lengths of answers whose delays stay laid out for a second's weather: few requests say a length of their own."""

PRIORS_KEPT: Final = 256
"""Lists of tasks whose priors stay laid out: the classifier's own, and one for each task that callers declare."""

GENERAL_TASKS: Final = ("unknown", "general", "chat")
"""Whose prior stands in, in this order, for a task of which the catalogue says nothing: what a model is like."""


KINDRED: Final[Mapping[str, tuple[str, ...]]] = {
    "maths": ("math", "reason"),
    "question_answering": ("question",),
    "creative": ("write",),
    "tool_use": ("agent",),
    "structured_output": ("extract",),
    "long_context": ("summarise",),
}
"""The catalogue's names for tasks of the belief."""


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """A model at one of its endpoints."""

    index: int
    model: ModelFacts
    endpoint: EndpointFacts
    price: ModelPrice | None

    @property
    def name(self) -> str:
        """`provider/model`."""
        return self.model.model


class Board:
    """The candidates and their arrays, in one order."""

    def __init__(self, catalogue: Catalogue, prices: PriceView) -> None:
        self.catalogue_revision = catalogue.revision
        self.prices = prices
        self.models: Mapping[str, ModelFacts] = catalogue.models
        pairs = [
            (model, endpoint)
            for _, model in sorted(catalogue.models.items())
            for endpoint in sorted(model.endpoints, key=lambda endpoint: endpoint.endpoint_id)
        ]
        if len(pairs) > CANDIDATES_MAX:
            raise ValueError(f"a catalogue has at most {CANDIDATES_MAX} endpoints, not {len(pairs)}")
        self.candidates: tuple[CandidateFacts, ...] = tuple(
            CandidateFacts(index, model, endpoint, prices.of(model.model))
            for index, (model, endpoint) in enumerate(pairs)
        )
        models = [candidate.model for candidate in self.candidates]
        self.endpoint_ids: tuple[str, ...] = tuple(endpoint.endpoint_id for _, endpoint in pairs)
        self.model_names: tuple[str, ...] = tuple(model.model for model in models)
        self.capabilities: Integers = np.array([int(model.capabilities) for model in models], np.int64)
        self.context_max: Integers = _limits(model.context_tokens_max for model in models)
        self.input_max: Integers = _limits(model.input_tokens_max for model in models)
        self.output_max: Integers = _limits(model.output_tokens_max for model in models)
        self.images_max: Integers = _limits(model.images_max for model in models)
        self.is_chat: npt.NDArray[np.bool_] = np.array(
            [model.kind is not ModelKind.EMBEDDING for model in models], bool
        )
        self.all_chat = bool(self.is_chat.all())
        self.languages_told = any(model.languages for model in models)
        """True if the catalogue says of some model which languages it is good at."""
        self.tokenizers: tuple[str, ...] = tuple(sorted({model.tokenizer for model in models}))
        self.tokenizer_of: Integers = np.array(
            [self.tokenizers.index(model.tokenizer) for model in models], np.int64
        )
        self.weight: Floats = np.array([candidate.endpoint.weight for candidate in self.candidates])
        self._lay_out_prices()
        self.unpriced: npt.NDArray[np.bool_] = np.isnan(self.input_rate) | np.isnan(self.output_rate)
        self.all_priced = not self.unpriced.any()
        self._lay_out_parameters(models)
        self.input_room_min: int = int(
            min(self.input_max.min(initial=UNLIMITED), self.context_max.min(initial=UNLIMITED) - 1)
        )
        """What every candidate has room for: a request within it needs no comparison one by one."""
        self.output_max_min: int = int(self.output_max.min(initial=UNLIMITED))
        self.context_max_min: int = int(self.context_max.min(initial=UNLIMITED))
        self.worst_cases: dict[tuple[bool, ...], tuple[WorstCases | None, ...]] = {}
        """By what requests consist of, as far as it matters for their price; filled by plan.py."""
        self._filled: dict[float, Floats] = {}
        self._priors: dict[tuple[str, ...], Floats] = {}
        self.by_endpoint: Mapping[str, CandidateFacts] = {
            candidate.endpoint.endpoint_id: candidate for candidate in self.candidates
        }

    @property
    def price_revision(self) -> int:
        """Revision of the price book whose prices it has."""
        return self.prices.revision

    def __len__(self) -> int:
        return len(self.candidates)

    def _lay_out_prices(self) -> None:
        tiers = [
            candidate.price.tiers[0] if candidate.price is not None else None for candidate in self.candidates
        ]
        self.input_rate: Floats = np.array(
            [_rate(tier.input_nanos_per_million if tier else None) for tier in tiers]
        )
        # Vectors are no output that anybody bills: a price without that rate is whole for a model that makes them.
        self.output_rate: Floats = np.array(
            [
                0.0 if tier and not chat else _rate(tier.output_nanos_per_million if tier else None)
                for tier, chat in zip(tiers, self.is_chat, strict=True)
            ]
        )
        self.request_nanos: Floats = np.array([float(tier.request_nanos) if tier else 0.0 for tier in tiers])
        self.bills_requests = bool(self.request_nanos.any())
        """True if some candidate costs something whatever is asked and answered."""
        self.input_nanos: Floats = self.input_rate / TOKENS_PER_RATE
        self.output_nanos: Floats = self.output_rate / TOKENS_PER_RATE
        """Per token."""
        self.tiered: tuple[int, ...] = tuple(
            candidate.index
            for candidate in self.candidates
            if candidate.price is not None and len(candidate.price.tiers) > 1
        )
        self.tier_edge_min: float = min(
            (
                self.candidates[index].price.tiers[1].input_tokens_above  # type: ignore[union-attr]
                for index in self.tiered
            ),
            default=float("inf"),
        )

    def _lay_out_parameters(self, models: list[ModelFacts]) -> None:
        names = sorted({name for model in models for name in model.refused_parameters})[:62]
        self.parameter_bits: Mapping[str, int] = {name: 1 << bit for bit, name in enumerate(names)}
        self.refused_parameters: Integers = np.array(
            [sum(self.parameter_bits.get(name, 0) for name in model.refused_parameters) for model in models],
            np.int64,
        )

    def filled(self, value: float) -> Floats:
        """An array with the same value for every candidate; not to be changed."""
        found = self._filled.get(value)
        if found is None:
            found = np.full(len(self.candidates), value)
            found.flags.writeable = False
            if len(self._filled) < PRIORS_KEPT:
                self._filled[value] = found
        return found

    def priors(self, tasks: tuple[str, ...]) -> Floats:
        """The catalogue's quality of each candidate (columns) for each task (rows); NaN where it says nothing."""
        found = self._priors.get(tasks)
        if found is None:
            rows = [[_prior(candidate.model, task) for candidate in self.candidates] for task in tasks]
            found = np.array(rows).reshape(len(tasks), len(self.candidates))
            if len(self._priors) < PRIORS_KEPT:
                self._priors[tasks] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Delays:
    """How long answers of one length take at each candidate, failures counted as delay."""

    duration_s: Floats
    decades: Floats
    """As utilities count it."""


class Weather:
    """Conditions laid out in a board's order: one row per candidate. Immutable."""

    def __init__(self, board: Board, conditions: Conditions) -> None:
        self.board = board
        self.conditions = conditions
        rows = [conditions.of(candidate.endpoint.endpoint_id) for candidate in board.candidates]
        self.health: Integers = np.array([int(row.health) for row in rows], np.int64)
        self.breaker: Integers = np.array([int(row.breaker) for row in rows], np.int64)
        self.retry_at_s: Floats = np.array(
            [row.retry_at_s if row.retry_at_s is not None else 0.0 for row in rows]
        )
        self.ttft_s: Floats = np.array([row.speed.ttft_s for row in rows])
        self.ttft_s_spread: Floats = np.array([row.speed.ttft_s_spread for row in rows])
        self.tokens_per_s: Floats = np.array([row.speed.tokens_per_s for row in rows])
        self.failure_rate: Floats = np.array([row.speed.failure_rate for row in rows])
        # An attempt that fails costs its time and the next one's: failures count as delay.
        delay = 1.0 + self.failure_rate / np.maximum(1.0 - self.failure_rate, FAILURE_SHARE_MIN)
        self.expected_ttft_s: Floats = self.ttft_s * delay
        self.s_per_token: Floats = 1.0 / np.maximum(self.tokens_per_s, TOKENS_PER_S_MIN)
        self.samples: Floats = np.array([row.speed.samples for row in rows])
        self.all_well: bool = bool(
            not (self.health >= 3).any() and not (self.breaker == int(BreakerState.OPEN)).any()
        )
        self._delays: dict[float, Delays] = {}

    def delays(self, output_tokens: float | Floats) -> "Delays":
        """How long answers of so many tokens take; arrays that are not to be changed."""
        if not isinstance(output_tokens, float):
            return self._delays_of(output_tokens)
        found = self._delays.get(output_tokens)
        if found is None:
            found = self._delays_of(output_tokens)
            if len(self._delays) < DELAYS_KEPT:
                self._delays[output_tokens] = found
        return found

    def _delays_of(self, output_tokens: float | Floats) -> "Delays":
        duration_s = self.expected_ttft_s + output_tokens * self.s_per_token
        found = Delays(duration_s, delay_decades(self.expected_ttft_s, duration_s))
        found.duration_s.flags.writeable = found.decades.flags.writeable = False
        return found

    @property
    def version(self) -> int:
        """Of the statistics it was laid out from."""
        return self.conditions.version


def _limits(values: Iterable[int | None]) -> Integers:
    return np.array([UNLIMITED if value is None else value for value in values], np.int64)


def _rate(rate: int | None) -> float:
    return float("nan") if rate is None else float(rate)


def _prior(model: ModelFacts, task: str) -> float:
    known = model.quality_priors
    for name in (task, *KINDRED.get(task, ())):
        if name in known:
            return known[name]
    for general in GENERAL_TASKS:
        if general in known:
            return known[general]
    return sum(known.values()) / len(known) if known else float("nan")
