"""Small worlds for the router's engine: models, prices and questions with as little said as a test needs."""

from dataclasses import replace
from typing import Any

from services.kernel.pricing import ModelPrice, PriceTier
from services.router.domain.access import Access
from services.router.domain.board import Board, Weather
from services.router.domain.catalogue import Capability, Catalogue, EndpointFacts, ModelFacts
from services.router.domain.conditions import Condition, Conditions
from services.router.domain.constraints import standing
from services.router.domain.estimates import CataloguePriors
from services.router.domain.features import Features
from services.router.domain.plan import Question
from services.router.domain.policy import Rules
from services.router.domain.prices import PriceView

A_SHORT_CHAT = Features(input_tokens_bound=400, input_tokens_estimate=100)
WITHOUT_PROBES = Rules(probe_share=0.0)
EVERYTHING = Access()
BASIC = Capability.STREAMING | Capability.SYSTEM_MESSAGES


def model(name: str, **facts: Any) -> ModelFacts:
    """A chat model with one endpoint, ordinary limits and the basic capabilities."""
    ordinary: dict[str, Any] = {
        "context_tokens_max": 128_000,
        "output_tokens_max": 16_384,
        "images_max": 10,
        "capabilities": BASIC,
        "quality_priors": {"general": 0.6},
        "endpoints": (EndpointFacts(f"ep-{name}"),),
    }
    return ModelFacts(name, **{**ordinary, **facts})


def price(name: str, input_usd: float = 1.0, output_usd: float = 4.0) -> ModelPrice:
    """A price in dollars per million tokens."""
    tier = PriceTier(0, round(input_usd * 1e9), round(output_usd * 1e9))
    return ModelPrice(name, (tier,))


def board(*models: ModelFacts, prices: dict[str, ModelPrice] | None = None, revision: int = 1) -> Board:
    """A board of these models; each costs the same unless `prices` says otherwise."""
    priced = {found.model: price(found.model) for found in models}
    priced.update(prices or {})
    return Board(
        Catalogue(revision, {found.model: found for found in models}),
        PriceView(revision, {name: held for name, held in priced.items() if held is not None}),
    )


def question(
    on: Board,
    *,
    features: Features = A_SHORT_CHAT,
    rules: Rules = WITHOUT_PROBES,
    access: Access = EVERYTHING,
    asked: tuple[str, ...] = (),
    conditions: dict[str, Condition] | None = None,
    seed: int = 1,
    **more: Any,
) -> Question:
    """A question about `on`; probing is off unless the rules turn it on."""
    return Question(
        board=on,
        weather=Weather(on, Conditions(1, conditions or {})),
        standing=standing(on, access, rules, asked),
        rules=rules,
        features=features,
        estimator=CataloguePriors(),
        seed=seed,
        now_s=1_000_000.0,
        **more,
    )


__all__ = ["BASIC", "board", "model", "price", "question", "replace"]
