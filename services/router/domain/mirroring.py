"""Which requests a shadow model gets a copy of, and whether it can and may. Pure.

The shadow model is judged by every rule that a model which answers is judged by, with these exceptions: the policy's
own list of allowed models says who may answer, and naming a model to mirror to is a statement of the same document;
quality floors and ceilings on time protect a reader, and there is none. What is denied stays denied, whoever names it.
"""

from dataclasses import replace

from services.router.domain.catalogue import ModelKind
from services.router.domain.constraints import Standing
from services.router.domain.draws import unit
from services.router.domain.features import Strategy
from services.router.domain.plan import Question
from services.router.domain.policy import MirrorRules, Rules
from services.router.domain.policy_book import Alias

_DRAW_MIRROR = 3

PRESSURE_MAX = 0.0
"""Budgets of the caller that run short end mirroring: the organisation's own limit counts mirrored traffic, too."""


def mirrored_to(question: Question, rules: MirrorRules, alias: Alias | None) -> str:
    """The model that gets a copy of the request, by the alias, else by the policy. Empty: none this time."""
    model, share = rules.model, rules.share
    if alias is not None and alias.mirror_model:
        model, share = alias.mirror_model, alias.mirror_permille / 1000
    if not model or question.features.kind is not ModelKind.CHAT or question.pressure > PRESSURE_MAX:
        return ""
    return model if unit(question.seed, _DRAW_MIRROR) < share else ""


def mirror_rules(rules: Rules, documents_allow: tuple[tuple[str, ...], ...], model: str) -> Rules:
    """The rules that a shadow model is judged by. `documents_allow`: the policy's lists; they come first in `rules`."""
    own = len(documents_allow)
    return replace(
        rules,
        strategy=Strategy.PINNED,
        weights=None,
        allow_models=(*((*allowed, model) for allowed in documents_allow), *rules.allow_models[own:]),
        quality_min=None,
        ttft_s_max=None,
        duration_s_max=None,
        attempts_max=1,
        lower_output_cap=False,
        shares=(),
        probe_share=0.0,
        hedge_after_s=None,
        cascade=None,
        mirror=None,
        continue_on_other_model=False,
    )


def mirror_question(question: Question, rules: Rules, standing: Standing, model: str) -> Question:
    """The request asked again of the shadow model alone, from the same snapshots."""
    return replace(
        question,
        standing=standing,
        rules=rules,
        asked=model,
        shares=(),
        quality_min=None,
        headroom=(),
        pressure=0.0,
        avoid=frozenset(),
    )
