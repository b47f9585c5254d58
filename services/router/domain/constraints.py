"""Hard constraints: which candidates may not be called at all, each by a named rule with its finding.

Three parts. `standing` holds what does not depend on the single request (access, compliance, lifecycle, what the caller
and the policy name): worked out once per caller and rules, and remembered. `Standing.needing` adds what a request of
some kind needs of a model, and remembers that, too. `exclusions` adds what depends on this request's size and on this
moment. The first rule that applies is the one that is reported. Sentences are written only when somebody reads them
(explain.py).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.router.domain import access as access_rules
from services.router.domain.access import Access
from services.router.domain.board import Board, Weather
from services.router.domain.catalogue import Health, Lifecycle, ModelFacts, ModelKind
from services.router.domain.conditions import BreakerState
from services.router.domain.features import Features
from services.router.domain.patterns import any_matches
from services.router.domain.policy import ComplianceRules, Rules
from services.router.domain.utility import Floats
from services.router.domain.values import value

if TYPE_CHECKING:
    from services.router.domain.plan import Question

Codes = npt.NDArray[np.int64]

KINDS_KEPT = 256
"""Kinds of requests per caller and rules whose exclusions are remembered; an application makes a few."""


class Rule(IntEnum):
    """Every rule that can drop a candidate. The value orders them: the lowest that applies is reported."""

    NONE = 0
    NOT_ASKED_FOR = 1
    ACCESS_DENIED = 2
    ACCESS_NOT_GRANTED = 3
    ACCESS_KEY = 4
    POLICY_ALLOW = 5
    POLICY_DENY = 6
    COMPLIANCE_REGION = 7
    COMPLIANCE_RETENTION = 8
    COMPLIANCE_TRAINING = 9
    COMPLIANCE_CERTIFICATION = 10
    LIFECYCLE = 11
    KIND = 12
    VENDOR_FILE = 13
    CAPABILITY = 14
    LANGUAGE = 15
    PARAMETER = 16
    REASONING_EFFORT = 17
    IMAGES = 18
    CONTEXT_INPUT = 19
    CONTEXT_OUTPUT = 20
    PRICE_UNKNOWN = 21
    HEALTH_DOWN = 22
    HEALTH_RESTING = 23
    BREAKER_OPEN = 24
    CEILING_COST = 25
    CEILING_TTFT = 26
    CEILING_DURATION = 27
    QUALITY_UNKNOWN = 28
    QUALITY_FLOOR = 29
    HEADROOM = 30

    @property
    def spelling(self) -> str:
        """The contract's name, such as `capability.tools`; a capability's own name is added by explain.py."""
        return _SPELLINGS[self]


_SPELLINGS = {
    Rule.NONE: "",
    Rule.NOT_ASKED_FOR: "request.model",
    Rule.ACCESS_DENIED: access_rules.ACCESS_DENIED,
    Rule.ACCESS_NOT_GRANTED: access_rules.ACCESS_NOT_GRANTED,
    Rule.ACCESS_KEY: access_rules.ACCESS_KEY,
    Rule.POLICY_ALLOW: "policy.allow_models",
    Rule.POLICY_DENY: "policy.deny_models",
    Rule.COMPLIANCE_REGION: "compliance.region",
    Rule.COMPLIANCE_RETENTION: "compliance.retention",
    Rule.COMPLIANCE_TRAINING: "compliance.training",
    Rule.COMPLIANCE_CERTIFICATION: "compliance.certification",
    Rule.LIFECYCLE: "lifecycle",
    Rule.KIND: "capability.kind",
    Rule.VENDOR_FILE: "capability.vendor_file",
    Rule.CAPABILITY: "capability",
    Rule.LANGUAGE: "capability.language",
    Rule.PARAMETER: "capability.parameter",
    Rule.REASONING_EFFORT: "capability.reasoning_effort",
    Rule.IMAGES: "capability.images",
    Rule.CONTEXT_INPUT: "context.input",
    Rule.CONTEXT_OUTPUT: "context.output",
    Rule.PRICE_UNKNOWN: "price.unknown",
    Rule.HEALTH_DOWN: "health.down",
    Rule.HEALTH_RESTING: "health.resting",
    Rule.BREAKER_OPEN: "health.breaker_open",
    Rule.CEILING_COST: "ceiling.cost",
    Rule.CEILING_TTFT: "ceiling.time_to_first_token",
    Rule.CEILING_DURATION: "ceiling.duration",
    Rule.QUALITY_UNKNOWN: "quality.unknown",
    Rule.QUALITY_FLOOR: "quality.floor",
    Rule.HEADROOM: "budget.headroom",
}

_ACCESS_RULES = {
    access_rules.ACCESS_DENIED: Rule.ACCESS_DENIED,
    access_rules.ACCESS_NOT_GRANTED: Rule.ACCESS_NOT_GRANTED,
    access_rules.ACCESS_KEY: Rule.ACCESS_KEY,
}


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What holds for every request of one caller under one set of rules: a rule per candidate, and its finding."""

    codes: Codes
    findings: tuple[str, ...]
    language_required: bool = False
    """True: a model must be known to be good at the request's language."""
    _kinds: dict[object, Codes] = field(default_factory=dict)

    def needing(self, board: Board, features: Features) -> Codes:
        """These rules and those that what the request consists of adds; an array of the caller's own."""
        kind = (
            features.kind is ModelKind.EMBEDDING,
            int(features.needs),
            features.parameters,
            features.drops_unsupported,
            features.reasoning_effort,
            features.images,
            features.vendor_files_of,
            features.language,
        )
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= KINDS_KEPT:
                self._kinds.clear()
            found = self._kinds[kind] = self.codes.copy()
            _mark_needs(board, features, found)
            _mark_languages(board, features.language, self.language_required, found)
        return found.copy()


def standing(board: Board, access: Access, rules: Rules, asked: tuple[str, ...]) -> Standing:
    """The rules that apply whatever the request needs. `asked` are the patterns the request names; empty: all."""
    codes = np.zeros(len(board), np.int64)
    findings = [""] * len(board)
    for candidate in board.candidates:
        rule, finding = _standing(candidate.model, candidate.endpoint.region, access, rules, asked)
        codes[candidate.index] = int(rule)
        findings[candidate.index] = finding
    return Standing(codes, tuple(findings), rules.language_required)


def _standing(
    model: ModelFacts, endpoint_region: str, access: Access, rules: Rules, asked: tuple[str, ...]
) -> tuple[Rule, str]:
    if asked and not any_matches(asked, model):
        return Rule.NOT_ASKED_FOR, f"The request asks for {', '.join(asked)}."
    refusal = access.refusal(model)
    if refusal is not None:
        return _ACCESS_RULES[refusal[0]], refusal[1]
    for allowed in rules.allow_models:
        if not any_matches(allowed, model):
            return Rule.POLICY_ALLOW, f"Only {', '.join(allowed)} may be used."
    if any_matches(rules.deny_models, model):
        return Rule.POLICY_DENY, "It is on the list of models not to be used."
    breach = compliance_breach(model, endpoint_region, rules.compliance)
    if breach is not None:
        return breach
    if model.lifecycle is Lifecycle.RETIRED:
        return Rule.LIFECYCLE, "It is retired." + (f" Use {model.successor}." if model.successor else "")
    # A preview model is somebody's to choose, by name or by policy, and nothing to be surprised by.
    if model.lifecycle is Lifecycle.PREVIEW and not rules.allow_preview and model.model not in asked:
        return Rule.LIFECYCLE, "It is a preview, which the policy does not allow unless it is named."
    if model.lifecycle is Lifecycle.DEPRECATED and not rules.allow_deprecated and model.model not in asked:
        return Rule.LIFECYCLE, "It is deprecated, which the policy does not allow."
    return Rule.NONE, ""


def compliance_breach(
    model: ModelFacts, endpoint_region: str, demands: ComplianceRules
) -> tuple[Rule, str] | None:
    """The first demand that is not proven to be met, with what is missing; None if all are. Unknown proves nothing."""
    if demands.demands_nothing:
        return None
    facts = model.compliance
    if demands.regions:
        # An endpoint that says where it is answers for itself; otherwise every region of the vendor must be allowed.
        regions = frozenset({endpoint_region}) if endpoint_region else facts.regions
        if not regions:
            return (
                Rule.COMPLIANCE_REGION,
                f"Where it processes is unknown; {_set(demands.regions)} is required.",
            )
        outside = {region for region in regions if not _within(region, demands.regions)}
        if outside:
            return (
                Rule.COMPLIANCE_REGION,
                f"It processes in {_set(outside)}; {_set(demands.regions)} is required.",
            )
    if demands.retention_days_max is not None:
        if facts.retention_days is None:
            return Rule.COMPLIANCE_RETENTION, "How long its vendor keeps data is unknown."
        if facts.retention_days > demands.retention_days_max:
            return (
                Rule.COMPLIANCE_RETENTION,
                f"Its vendor keeps data for {facts.retention_days} days;"
                f" at most {demands.retention_days_max} are allowed.",
            )
    if demands.no_training and facts.trains_on_data is not False:
        known = "Whether its vendor trains on data is unknown." if facts.trains_on_data is None else ""
        return Rule.COMPLIANCE_TRAINING, known or "Its vendor trains on data."
    missing = demands.certifications - facts.certifications
    if missing:
        return Rule.COMPLIANCE_CERTIFICATION, f"It is not known to be certified for {_set(missing)}."
    return None


def _within(region: str, allowed: frozenset[str]) -> bool:
    """`eu-west-1` is within `eu`, `eu` is not within `eu-west-1`."""
    return region in allowed or any(region.startswith(wider + "-") for wider in allowed)


def _set(names: "set[str] | frozenset[str]") -> str:
    return ", ".join(sorted(names))


@dataclass(frozen=True, slots=True)
class Headroom:
    """What a budget that refused has left, and whom it counts."""

    model_scope: str
    """`model:…`, `group:…`, `provider:…`; empty: all models."""
    display_name: str
    nanos: int | None = None
    """Money that would still fit. None: the budget does not count money."""
    tokens: int | None = None
    """Tokens that would still fit, input and output. None: it does not count tokens."""

    def counts(self, model: ModelFacts) -> bool:
        """True if the budget counts calls of `model`."""
        kind, _, name = self.model_scope.partition(":")
        if not kind:
            return True
        if kind == "model":
            return model.model == name
        return name in model.groups if kind == "group" else model.provider == name


@value(frozen=True, slots=True, eq=False)
class Sizes:
    """How large the request is for each candidate, in tokens: one number where it is the same for all, as it mostly is,
    else an array in the board's order."""

    input_bound: "int | npt.NDArray[np.int64]"
    output_cap: "int | npt.NDArray[np.int64]"
    longest_input: "int | npt.NDArray[np.int64]"
    """What a model's limits apply to: the input, or the longest of the texts to be embedded."""
    longest_input_max: int
    """The largest of those bounds."""

    def bound_of(self, index: int) -> int:
        """A candidate's bound of the input."""
        return self.input_bound if isinstance(self.input_bound, int) else int(self.input_bound[index])

    def cap_of(self, index: int) -> int:
        """A candidate's output cap."""
        return self.output_cap if isinstance(self.output_cap, int) else int(self.output_cap[index])

    def longest_of(self, index: int) -> int:
        """A candidate's bound of the longest text."""
        return self.longest_input if isinstance(self.longest_input, int) else int(self.longest_input[index])


def exclusions(question: "Question", sizes: Sizes) -> Codes:
    """A rule per candidate: those that stand, what it lacks, what is too large for it, whether it can be reached."""
    board, weather, features = question.board, question.weather, question.features
    codes = question.standing.needing(board, features)
    if sizes.longest_input_max > board.input_room_min:
        too_large = (sizes.longest_input > board.input_max) | (sizes.longest_input >= board.context_max)
        _mark(codes, Rule.CONTEXT_INPUT, too_large)
    asked = features.output_cap_asked
    if asked is not None and (
        asked > board.output_max_min or sizes.longest_input_max + asked > board.context_max_min
    ):
        too_long = (board.output_max < sizes.output_cap) | (
            sizes.longest_input + sizes.output_cap > board.context_max
        )
        _mark(codes, Rule.CONTEXT_OUTPUT, too_long)
    if not board.all_priced:
        _mark(codes, Rule.PRICE_UNKNOWN, board.unpriced)
    if not weather.all_well:
        _mark_unreachable(weather, codes, question.now_s)
    return codes


def _mark_needs(board: Board, features: Features, codes: Codes) -> None:
    if features.kind is ModelKind.EMBEDDING:
        _mark(codes, Rule.KIND, board.is_chat)
    elif not board.all_chat:
        _mark(codes, Rule.KIND, ~board.is_chat)
    if features.vendor_files_of:
        others = [candidate.model.provider != features.vendor_files_of for candidate in board.candidates]
        _mark(codes, Rule.VENDOR_FILE, np.array(others, bool))
    if features.needs:
        _mark(codes, Rule.CAPABILITY, (board.capabilities & int(features.needs)) != int(features.needs))
    if features.parameters and not features.drops_unsupported:
        bits = sum(board.parameter_bits.get(name, 0) for name in features.parameters)
        if bits:
            _mark(codes, Rule.PARAMETER, (board.refused_parameters & bits) != 0)
    if features.reasoning_effort and not features.drops_unsupported:
        _mark(codes, Rule.REASONING_EFFORT, _without_effort(board, features.reasoning_effort))
    if features.images:
        _mark(codes, Rule.IMAGES, board.images_max < features.images)


def _mark_languages(board: Board, language: str, required: bool, codes: Codes) -> None:
    """Drops who is known not to be good at a language and, if the policy asks for it, who is not known to be."""
    if not language:
        return  # the request's own is unknown, so nothing is asked for
    primary = language.partition("-")[0]
    lacking = [
        required
        if not candidate.model.languages
        else primary not in {known.partition("-")[0] for known in candidate.model.languages}
        for candidate in board.candidates
    ]
    _mark(codes, Rule.LANGUAGE, np.array(lacking, bool))


def _mark_unreachable(weather: Weather, codes: Codes, now_s: float) -> None:
    # Once its rest is over somebody must try it, or nobody would ever find that it works again.
    _mark(codes, Rule.HEALTH_DOWN, (weather.health == int(Health.DOWN)) & (weather.retry_at_s > now_s))
    _mark(
        codes,
        Rule.HEALTH_RESTING,
        (weather.health == int(Health.RESTING)) & ((weather.retry_at_s == 0) | (weather.retry_at_s > now_s)),
    )
    _mark(codes, Rule.BREAKER_OPEN, weather.breaker == int(BreakerState.OPEN))


def ceiling_exclusions(
    rules: Rules, quality_min: float | None, quality: Floats, ttft_s: Floats, duration_s: Floats, codes: Codes
) -> None:
    """Marks what is too slow or not good enough. An unknown quality satisfies no floor."""
    if rules.ttft_s_max is not None:
        _mark(codes, Rule.CEILING_TTFT, ttft_s > rules.ttft_s_max)
    if rules.duration_s_max is not None:
        _mark(codes, Rule.CEILING_DURATION, duration_s > rules.duration_s_max)
    if quality_min is not None and quality_min > 0:
        unknown = np.isnan(quality)
        _mark(codes, Rule.QUALITY_UNKNOWN, unknown)
        _mark(codes, Rule.QUALITY_FLOOR, ~unknown & (quality < quality_min))


def _mark(codes: Codes, rule: Rule, where: npt.NDArray[np.bool_]) -> None:
    codes[where & (codes == 0)] = int(rule)


def _without_effort(board: Board, effort: str) -> npt.NDArray[np.bool_]:
    # "none" is what every model that does not reason does anyway; of others the catalogue says which efforts they know.
    return np.array(
        [
            bool(candidate.model.reasoning_efforts) and effort not in candidate.model.reasoning_efforts
            for candidate in board.candidates
        ],
        bool,
    )
