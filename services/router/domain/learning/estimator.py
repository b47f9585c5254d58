"""Predicts quality and cost of models for one prompt from a prior; pure, vectorised over the models."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from services.router.domain.learning.encoder import Coordinates
from services.router.domain.learning.heads import LOG_CHARS_CENTRE
from services.router.domain.learning.names import resemblance, same_model, tells_nothing
from services.router.domain.learning.prior import Prior
from services.router.domain.learning.steps import Doubtful, stepped
from services.router.domain.learning.stretch import least_stretch
from services.router.domain.learning.text import FloatArray, TextFeatures

UNKNOWN = "unknown"
VIEWS_KEPT = 64  # candidate lists whose coefficients stay gathered; policies produce a handful.
COST_SHARE_MIN = (
    0.1  # a prompt costs at least a tenth of its model's mean: regressions must not promise gifts.
)
TOPIC_TRUST_UNKNOWN = (
    0.25  # on unseen tasks topics mislead (they stand for tasks); measured by leaving tasks out.
)
EFFECT_SHRINKAGE = 5.0  # κ of training: outcomes that weigh as much as the parent's mean.


@dataclass(frozen=True, slots=True)
class Estimate:
    """Arrays over the models asked for, in their order.

    quality: expected, 0..1 but for rounding.  uncertainty: standard deviation of that expectation, not of one outcome.
    cost: expected USD as recorded in training, NaN where no cost was, or where the model's name tells nothing.
    unknown: 0..1, how far the task is a stranger.  default: index of the best single model, which an unknown task is
    given.  stretch: 1 or more.  doubtful: prices of money at which a floor is in doubt, if any; for both see `safe`.
    """

    quality: FloatArray
    uncertainty: FloatArray
    cost: FloatArray
    unknown: float
    default: int
    stretch: float
    doubtful: Doubtful | None


@dataclass(frozen=True, slots=True)
class _View:
    """Coefficients of one list of models, gathered once. A column per model."""

    quality: FloatArray
    cost: FloatArray
    task: FloatArray
    slope: FloatArray
    style: FloatArray
    topic: FloatArray
    difficulty: FloatArray
    cost_task: FloatArray
    cost_style: FloatArray
    cost_topic: FloatArray
    cost_length: FloatArray
    variance: FloatArray
    deviation: FloatArray
    strangeness: FloatArray
    default: int
    stretch: float
    doubtful: Doubtful | None


class Estimator:
    """What a prior expects. Holds no state but a cache of coefficients; same input, same output."""

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._views: OrderedDict[tuple[str, ...], _View] = OrderedDict()
        self._position = {task: index for index, task in enumerate(prior.tasks)}
        parents = sorted(set(prior.parents) | {""})
        self._parent_position = {parent: index for index, parent in enumerate(parents) if parent}
        self._parent_of = np.array([parents.index(parent) for parent in prior.parents], dtype=np.intp)
        self._parents = len(parents)

    @property
    def version(self) -> str:
        """Names the prior; recorded with every decision."""
        return self._prior.version

    @property
    def prior(self) -> Prior:
        """What the expectations come from."""
        return self._prior

    def estimate(
        self, belief: Mapping[str, float] | None, features: TextFeatures, models: Sequence[str]
    ) -> Estimate:
        """Expectations for `models` on a prompt.

        belief: task → probability, over the prior's own tasks or over natural tasks, `unknown` included; what it gives
        to tasks that the prior has never seen counts as unknown. None: the prior's own reading of the text.
        A model the prior does not know is taken for a mix of those whose names or sizes resemble it, with more
        uncertainty. Raises ValueError if there is no model, and never for what a model is called.
        """
        if not models:
            raise ValueError("an estimate needs at least one model")
        at = self._prior.encoder.encode(features)
        tasks, unknown = self.tasks(belief, at)
        return self.estimate_at(at, tasks, unknown, features.scalars[0], models)

    def tasks(self, belief: Mapping[str, float] | None, at: Coordinates) -> tuple[FloatArray, float]:
        """Probabilities of the prior's tasks, and what is left to the unknown."""
        if belief is None:
            slope, offset = self._prior.unfamiliar
            doubt = 1 / (1 + exp(-min(max(slope * at.familiarity + offset, -30.0), 30.0)))
            unknown = max(0.0, 2 * doubt - 1)  # below evens a prompt counts as familiar.
            return at.tasks * np.float32(1 - unknown), unknown
        shares = np.zeros(len(self._prior.tasks), dtype=np.float32)
        natural: list[float] | None = None
        for task, probability in belief.items():
            if (index := self._position.get(task)) is not None:
                shares[index] += probability
            elif (index := self._parent_position.get(task)) is not None:
                natural = natural or [0.0] * self._parents
                natural[index] += probability
        if natural:
            # Within a natural task the words say which of the prior's own tasks it is like.
            likely = at.tasks + np.float32(1e-6)
            within = np.bincount(self._parent_of, weights=likely, minlength=self._parents)
            shares += likely * (np.array(natural) / (within + 1e-12))[self._parent_of].astype(np.float32)
        return shares, float(min(max(1.0 - shares.sum(), 0.0), 1.0))

    def estimate_at(
        self, at: Coordinates, tasks: FloatArray, unknown: float, log_chars: float, models: Sequence[str]
    ) -> Estimate:
        """As `estimate`, from coordinates and task probabilities already found."""
        view = self._view(tuple(models))
        sloped = tasks * np.float32(at.difficulty)
        topic = at.topic * np.float32(1 - (1 - TOPIC_TRUST_UNKNOWN) * unknown)
        known = np.float32(1 - unknown)
        quality = (
            view.quality
            + tasks @ view.task
            + sloped @ view.slope
            + at.style @ view.style
            + topic @ view.topic
            + view.difficulty * np.float32(at.difficulty) * known
        )
        share = (
            1
            + tasks @ view.cost_task
            + at.style @ view.cost_style
            + at.topic @ view.cost_topic
            + view.cost_length * np.float32(log_chars - LOG_CHARS_CENTRE)
        )
        variance = tasks @ view.variance + np.float32(unknown) * view.deviation**2 + view.strangeness
        return Estimate(
            quality=quality,
            uncertainty=np.sqrt(variance),
            cost=view.cost * np.maximum(share, np.float32(COST_SHARE_MIN)),
            unknown=unknown,
            default=view.default,
            stretch=view.stretch,
            doubtful=view.doubtful,
        )

    def _view(self, models: tuple[str, ...]) -> _View:
        view = self._views.get(models)
        if view is None:
            view = self._gather(models)
            self._views[models] = view
            if len(self._views) > VIEWS_KEPT:
                self._views.popitem(last=False)
        return view

    def _gather(self, models: tuple[str, ...]) -> _View:
        arms = self._prior.arms
        mix, strange = self._mix(models)
        nameless = [
            column
            for column, model in enumerate(models)
            if strange[column] and tells_nothing(model, arms.name)
        ]
        # A level (what all models of a context share) belongs to the column, so that contexts can be compared.
        variance = arms.noise / (arms.rows + EFFECT_SHRINKAGE)
        costs = np.nan_to_num(arms.cost)
        priced = (~np.isnan(arms.cost)).astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            cost = ((costs @ mix) / (priced @ mix)).astype(np.float32)
        cost[nameless] = np.nan  # a price is told by no resemblance to everything.
        quality = arms.quality @ mix
        deviation = arms.deviation @ mix
        task = (arms.gain_task + arms.level_task) @ mix
        cost_task = arms.cost_task @ mix
        seen = (arms.rows @ mix).sum(axis=1)
        stretch = 1.0
        if (total := seen.sum()) > 0:
            paid = cost * np.maximum(1 + cost_task, np.float32(COST_SHARE_MIN))
            stretch = least_stretch(quality + task, paid, seen / total)
        return _View(
            quality=quality,
            cost=cost,
            task=task,
            slope=arms.gain_slope @ mix,
            style=arms.gain_style @ mix,
            topic=arms.gain_topic @ mix,
            difficulty=(arms.gain_difficulty + arms.level_difficulty) @ mix,
            cost_task=cost_task,
            cost_style=arms.cost_style @ mix,
            cost_topic=arms.cost_topic @ mix,
            cost_length=arms.cost_length @ mix,
            variance=variance @ mix,
            deviation=deviation,
            strangeness=(strange * deviation) ** 2,
            default=int(quality.argmax()),
            stretch=stretch,
            doubtful=self._doubtful(mix),
        )

    def _doubtful(self, mix: FloatArray) -> Doubtful | None:
        """Of the context that most of the models asked for come from."""
        shares: dict[str, float] = {}
        for context, share in zip(self._prior.arms.context, mix.sum(axis=1), strict=True):
            shares[context] = shares.get(context, 0.0) + float(share)
        return self._prior.doubtful.get(max(shares, key=lambda context: shares[context]))

    def _mix(self, models: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
        """(K, n) weights of the prior's columns per model, and 1 for models it does not know by name."""
        arms = self._prior.arms
        asked = set(models)
        overlap: dict[str, int] = {}
        for name, context in zip(arms.name, arms.context, strict=True):
            meant = name in asked or any(same_model(name, model) for model in models)
            overlap[context] = overlap.get(context, 0) + meant
        rows = arms.rows.sum(axis=0)
        mix = np.zeros((len(arms.name), len(models)), dtype=np.float32)
        strange = np.zeros(len(models), dtype=np.float32)
        most = max(overlap.values(), default=0)
        for column, model in enumerate(models):
            own = [index for index, name in enumerate(arms.name) if name == model]
            if own:
                best = max(own, key=lambda index: (overlap[arms.context[index]], rows[index]))
                mix[best, column] = 1.0
                continue
            strange[column] = 1.0
            # Among its rivals' context a stranger is compared on their scale of quality.
            peers = [
                index
                for index in range(len(arms.name))
                if most == 0 or 2 * overlap[arms.context[index]] >= len(models)
            ] or list(range(len(arms.name)))
            mix[peers, column] = resemblance(model, [arms.name[index] for index in peers])
        return mix, strange


def safe(estimate: Estimate) -> FloatArray:
    """Quality for a router that must keep a floor: on an unknown task doubts weigh `estimate.stretch` times.

    A floor promised from known tasks fails on others (0.81 of the best single model's quality was delivered where
    0.98 was promised). So on an unknown task each model's shortfall against the default is stretched, as far as makes
    the default win at a price of money that was frozen on known tasks, and no further: the order of the models stays as
    it is, and so do their trade-offs beside known tasks. On a known task nothing is stretched. Half a doubt is
    stretched by more than half, for a floor is missed by the rows that look nearly familiar. Whatever the task, nothing
    changes at prices of money that leave a floor in doubt (`steps`). The result is a bid, not a probability.
    """
    best = estimate.quality[estimate.default]
    stretch = np.float32(1 + (estimate.stretch - 1) * sqrt(estimate.unknown))
    bids: FloatArray = best - (best - estimate.quality) * stretch
    return bids if estimate.doubtful is None else stepped(bids, estimate.cost, estimate.doubtful)
