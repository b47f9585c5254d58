"""Whether a request is answered by a cheap model first, checked, and by the strong one only if the check fails. Pure.

The direct call is the plan's first candidate. Cheaper candidates of the same plan are compared with it by expected cost
and quality (learning/cascade.py); none is looked at that the rules have dropped, so a cascade reaches no model that the
direct road could not. A cascade is used only if it is expected to cost less, and to lose hardly any quality.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from services.router.domain.board import Board
from services.router.domain.catalogue import Capability
from services.router.domain.checks import RATES, WRONG_ALIKE_TEXT
from services.router.domain.estimates import Expectation
from services.router.domain.features import Features
from services.router.domain.learning.cascade import CascadeDecision, Check, Way, agreement, decide
from services.router.domain.policy import CascadeRules, Rules
from services.router.domain.utility import Floats

if TYPE_CHECKING:
    from services.router.domain.plan import Planned

CHEAP_MAX = 4
"""Cheapest candidates that are looked at as the first of a cascade; a dearer one saves less."""

NANOS_PER_USD = 1e9


@dataclass(frozen=True, slots=True)
class Cascade:
    """Both roads compared. Kept with the decision whether or not it is used."""

    use: bool
    reason: str
    check: str
    """`schema`, `parse`, `option`, `number` or `agreement`. Empty: the answer cannot be checked."""
    strong: "Planned"
    """Of the direct call."""
    cheap: "Planned | None" = None
    """None: there is none that could be asked first."""
    second: "Planned | None" = None
    """The cheap model that must agree; None: the check needs none."""
    direct: Way | None = None
    """Expected cost in dollars, and quality, of the direct call. None: not compared."""
    cascade: Way | None = None
    escalation: float = 0.0
    """How likely the strong model is called as well."""

    def is_trial(self, planned: "Planned") -> bool:
        """True if the answer of this one is checked before anybody sees it."""
        return self.use and planned in (self.cheap, self.second)


@dataclass(frozen=True, slots=True)
class Roads:
    """What a cascade is decided from: the decision as it stands without one."""

    board: Board
    features: Features
    rules: Rules
    quality_min: float | None
    expectation: Expectation
    cost_nanos: Floats
    duration_s: Floats
    order: Sequence[int]
    """Eligible candidates, best first."""
    plan: "tuple[Planned, ...]"
    admit: "Callable[[int], Planned | None]"
    """A candidate with its worst case; None: it does not fit."""


def considered(roads: Roads, wanted: CascadeRules) -> Cascade:
    """The cascade that is expected to cost least, used or not, or why there is none."""
    strong = roads.plan[0]
    check, why_not = _check(roads.features, wanted, progressive=roads.rules.progressive_tokens is not None)
    if not check:
        return Cascade(False, why_not, "", strong)
    calls = 3 if check == "agreement" else 2
    if roads.rules.attempts_max < calls:
        return Cascade(
            False, f"it may take {calls} attempts; {roads.rules.attempts_max} are allowed", check, strong
        )
    if math.isnan(roads.expectation.quality[strong.index]):
        return Cascade(False, "the quality of the direct call is unknown", check, strong)
    best: Cascade | None = None
    for cheap, second in _pairs(roads, strong, check):
        found = _compared(roads, wanted, check, strong, cheap, second)
        if best is None or (found.use, -_cost(found)) > (best.use, -_cost(best)):
            best = found
    return best or Cascade(False, "no cheaper candidate of known quality qualifies", check, strong)


def with_cascade(plan: "tuple[Planned, ...]", cascade: Cascade) -> "tuple[Planned, ...]":
    """The plan with the cheap model first, the strong one behind it, and the one that must agree at the end."""
    if not cascade.use or cascade.cheap is None:
        return plan
    trials = {planned.index for planned in (cascade.cheap, cascade.second) if planned is not None}
    rest = tuple(planned for planned in plan if planned.index not in trials)
    return (cascade.cheap, *rest, *((cascade.second,) if cascade.second is not None else ()))


def _check(features: Features, wanted: CascadeRules, *, progressive: bool) -> tuple[str, str]:
    if features.tools:
        return "", "a call of a tool is no answer that could be checked"
    if Capability.STREAMING in features.needs and not wanted.streams:
        return "", "a stream is held back only if its caller or the policy says so"
    if Capability.STREAMING in features.needs and progressive:
        return "", "a stream whose hold grows is not held back"
    if wanted.check != "json":
        if features.choices > 1 and wanted.check == "agreement":
            return "", "several answers cannot agree"
        return wanted.check, ""
    if features.json_schema:
        return "schema", ""
    if Capability.JSON_OBJECT in features.needs:
        return "parse", ""
    return "", "the answer cannot be checked: it need not be JSON"


def _pairs(roads: Roads, strong: "Planned", check: str) -> "Iterator[tuple[Planned, Planned | None]]":
    names, direct = roads.board.model_names, float(roads.cost_nanos[strong.index])
    cheaper: dict[str, int] = {}
    for index in sorted(roads.order, key=lambda index: float(roads.cost_nanos[index])):
        if float(roads.cost_nanos[index]) < direct and not math.isnan(roads.expectation.quality[index]):
            cheaper.setdefault(names[index], index)
    found = [
        planned for index in list(cheaper.values())[:CHEAP_MAX] if (planned := roads.admit(index)) is not None
    ]
    if check == "agreement":
        yield from combinations(found, 2)
    else:
        for cheap in found:
            yield cheap, None


def _compared(
    roads: Roads,
    wanted: CascadeRules,
    check: str,
    strong: "Planned",
    cheap: "Planned",
    second: "Planned | None",
) -> Cascade:
    rates = _rates(roads, wanted, check, cheap, second)
    decided: CascadeDecision = decide(
        _way(roads, cheap), _way(roads, strong), rates, quality_min=roads.quality_min
    )
    use, reason = decided.use, decided.reason
    trials_s = sum(float(roads.duration_s[trial.index]) for trial in (cheap, second) if trial is not None)
    longest_s = trials_s + float(roads.duration_s[strong.index])
    if use and roads.rules.duration_s_max is not None and longest_s > roads.rules.duration_s_max:
        use, reason = False, f"both calls may take {longest_s:.1f} s of {roads.rules.duration_s_max:.1f} s"
    return Cascade(
        use, reason, check, strong, cheap, second, decided.direct, decided.cascade, decided.escalation
    )


def _rates(
    roads: Roads, wanted: CascadeRules, check: str, cheap: "Planned", second: "Planned | None"
) -> Check:
    if second is None:
        return RATES[check]
    quality = roads.expectation.quality
    wrong_alike = 1.0 / len(wanted.options) if wanted.options else WRONG_ALIKE_TEXT
    cost_usd = float(roads.cost_nanos[second.index]) / NANOS_PER_USD
    return agreement(float(quality[cheap.index]), float(quality[second.index]), cost_usd, wrong_alike)


def _way(roads: Roads, planned: "Planned") -> Way:
    return Way(
        float(roads.cost_nanos[planned.index]) / NANOS_PER_USD,
        float(roads.expectation.quality[planned.index]),
    )


def _cost(cascade: Cascade) -> float:
    return cascade.cascade.cost if cascade.cascade is not None else math.inf
