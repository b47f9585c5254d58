"""Whatever policies, grants, wishes and failures there are: nothing forbidden or incapable is planned or tried."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.pricing import Extent
from services.router.domain import explain, fallback, vector_space
from services.router.domain.access import Access, Grant
from services.router.domain.catalogue import Capability, Compliance, Lifecycle, ModelFacts, ModelKind
from services.router.domain.conditions import BreakerState, Condition
from services.router.domain.constraints import Headroom, compliance_breach, standing
from services.router.domain.fallback import Next, RetryClass
from services.router.domain.features import Features, Strategy
from services.router.domain.mirroring import mirror_question, mirror_rules
from services.router.domain.patterns import any_matches, matches
from services.router.domain.plan import Decision, decide
from services.router.domain.policy import CascadeRules, ComplianceRules, Rules, Share
from services.router.domain.prices import cap_that_fits, worst_case
from services.router.records import AttemptRecord
from services.router.use_cases.continuing import Said
from tests.support.boards import board, model, price, question
from turnpike.common.v1 import content_pb2

NAMES = ("a/one", "a/two", "b/one", "b/two", "c/one")
PATTERNS = st.sampled_from(("*", "a/*", "b/*", "*/one", "group:small", "provider:c", *NAMES))
CAPABILITIES = st.builds(lambda bits: Capability(bits), st.integers(0, 2 ** len(Capability) - 1))
REGIONS = st.frozensets(st.sampled_from(("eu", "eu-west", "us")), max_size=2)

models = st.builds(
    lambda name, **facts: model(name, **facts),
    context_tokens_max=st.sampled_from((None, 1_000, 8_000, 128_000)),
    output_tokens_max=st.sampled_from((None, 100, 4_096)),
    capabilities=CAPABILITIES,
    groups=st.sampled_from((frozenset(), frozenset({"small"}))),
    lifecycle=st.sampled_from(tuple(Lifecycle)),
    quality_priors=st.sampled_from(({}, {"general": 0.3}, {"general": 0.8})),
    compliance=st.builds(
        Compliance,
        regions=REGIONS,
        retention_days=st.sampled_from((None, 0, 30)),
        trains_on_data=st.sampled_from((None, True, False)),
        certifications=st.sampled_from((frozenset(), frozenset({"soc2"}))),
    ),
    name=st.just(""),
)
worlds = st.lists(models, min_size=5, max_size=5).map(
    lambda found: tuple(model(name, **_facts(one)) for name, one in zip(NAMES, found, strict=True))
)
grants = st.lists(
    st.builds(
        Grant,
        grant_id=st.just("g"),
        subject=st.sampled_from(("organisation:o", "team:t", "project:p", "key:k")),
        pattern=PATTERNS,
        deny=st.booleans(),
    ),
    max_size=4,
).map(tuple)
rules = st.builds(
    Rules,
    strategy=st.sampled_from(tuple(Strategy)),
    allow_models=st.lists(st.lists(PATTERNS, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    deny_models=st.lists(PATTERNS, max_size=1).map(tuple),
    compliance=st.builds(
        ComplianceRules,
        regions=REGIONS,
        retention_days_max=st.sampled_from((None, 7)),
        no_training=st.booleans(),
        certifications=st.sampled_from((frozenset(), frozenset({"soc2"}))),
    ),
    cost_nanos_max=st.sampled_from((None, 1_000_000, 20_000_000)),
    lower_output_cap=st.booleans(),
    allow_preview=st.booleans(),
    allow_deprecated=st.booleans(),
    probe_share=st.sampled_from((0.0, 0.5)),
    shares=st.lists(st.builds(Share, PATTERNS, st.sampled_from((0.0, 1.0))), max_size=2).map(tuple),
    cascade=st.none()
    | st.builds(
        CascadeRules,
        check=st.sampled_from(("json", "number", "agreement")),
        streams=st.booleans(),
    ),
    progressive_tokens=st.sampled_from((None, 1_024)),
)
requests = st.builds(
    Features,
    input_tokens_bound=st.sampled_from((100, 2_000, 50_000)),
    input_tokens_estimate=st.just(100),
    needs=st.builds(Capability, st.sampled_from((0, 1, 3, 9, 130))),
    output_cap_asked=st.sampled_from((None, 50, 5_000)),
    choices=st.sampled_from((1, 3)),
    json_schema=st.booleans(),
)


def _facts(one: ModelFacts) -> dict[str, object]:
    kept = (
        "context_tokens_max",
        "output_tokens_max",
        "capabilities",
        "groups",
        "lifecycle",
        "quality_priors",
        "compliance",
    )
    return {name: getattr(one, name) for name in kept}


@settings(max_examples=300, deadline=None)
@given(
    world=worlds,
    held=grants,
    ruled=rules,
    asked=requests,
    named=st.sampled_from(((), ("a/one",), ("b/*", "c/one"))),
    floor=st.sampled_from((None, 0.5)),
    headroom=st.sampled_from(
        ((), (Headroom("", "b", nanos=3_000_000),), (Headroom("group:small", "b", tokens=900),))
    ),
    breakers=st.lists(st.sampled_from(tuple(BreakerState)), min_size=5, max_size=5),
    seed=st.integers(0, 2**40),
)
def test_nothing_forbidden_or_incapable_is_ever_planned(
    world: tuple[ModelFacts, ...],
    held: tuple[Grant, ...],
    ruled: Rules,
    asked: Features,
    named: tuple[str, ...],
    floor: float | None,
    headroom: tuple[Headroom, ...],
    breakers: list[BreakerState],
    seed: int,
) -> None:
    on = board(*world, prices={"b/two": price("b/two", 0.01, 0.02), "c/one": price("c/one", 20, 90)})
    conditions = {f"ep-{name}": Condition(breaker=state) for name, state in zip(NAMES, breakers, strict=True)}
    access = Access(held)
    decision = decide(
        question(
            on,
            features=asked,
            rules=ruled,
            access=access,
            asked=named,
            conditions=conditions,
            seed=seed,
            quality_min=floor,
            headroom=headroom,
        )
    )
    cascade = decision.cascade
    if cascade is not None and cascade.use:
        trials = [trial for trial in (cascade.cheap, cascade.second, cascade.strong) if trial is not None]
        assert all(trial in decision.plan for trial in trials)
        assert decision.plan[0] == cascade.cheap
    for planned in decision.plan:
        candidate = on.candidates[planned.index]
        facts = candidate.model
        assert not named or any_matches(named, facts)
        assert access.refusal(facts) is None
        assert all(any_matches(allowed, facts) for allowed in ruled.allow_models)
        assert not any(matches(pattern, facts) for pattern in ruled.deny_models)
        assert compliance_breach(facts, candidate.endpoint.region, ruled.compliance) is None
        assert facts.lifecycle is not Lifecycle.RETIRED
        assert facts.capabilities & asked.needs == asked.needs
        assert planned.input_bound + 1 <= (facts.context_tokens_max or 2**62)
        assert planned.output_cap <= (facts.output_tokens_max or 2**62)
        assert conditions[candidate.endpoint.endpoint_id].breaker is not BreakerState.OPEN
        if floor is not None:
            assert facts.quality_priors.get("general", 0.0) >= floor
        if ruled.cost_nanos_max is not None:
            assert planned.worst_case_nanos <= ruled.cost_nanos_max
        for room in headroom:
            if room.counts(facts) and room.nanos is not None:
                assert planned.worst_case_nanos <= room.nanos
    _check_refusals(decision)
    _check_fallback(decision)
    _check_continuation(decision)
    _check_mirror(decision, access)


def _check_continuation(decision: Decision) -> None:
    """Who goes on with a broken answer is in the plan, and the longer prompt fits it and the ceiling."""
    said = Said(content_pb2.GenerationInput())
    said.add(content_pb2.ChoiceDelta(text="word " * 40))
    broken = AttemptRecord(
        1, "a/one", "ep", "first", 1_000_000, datetime.now(UTC), 0.0, failure="VENDOR_STREAM_TRUNCATED"
    )
    tried = [decision.plan[0].index] if decision.plan else []
    step = said.next(decision, tried, [broken], left_s=30.0)
    if step is None:
        return
    board, planned = decision.question.board, step.planned
    assert planned.index in {item.index for item in decision.plan} - set(tried)
    facts = board.candidates[planned.index].model
    assert planned.input_bound + planned.output_cap <= (facts.context_tokens_max or 2**62)
    ceiling = decision.question.rules.cost_nanos_max
    assert ceiling is None or broken.held_nanos + planned.worst_case_nanos <= ceiling


def _check_mirror(decision: Decision, access: Access) -> None:
    """A shadow model is granted, proven, able and not denied, whatever the policy names."""
    question = decision.question
    for name in NAMES:
        # The first list of the rules is the document's own, the others are the caller's.
        ruled = mirror_rules(question.rules, question.rules.allow_models[:1], name)
        stands = standing(question.board, access, ruled, (name,))
        shadow = decide(mirror_question(question, ruled, stands, name))
        for planned in shadow.plan:
            facts = question.board.candidates[planned.index].model
            assert facts.model == name
            assert access.refusal(facts) is None
            assert all(any_matches(allowed, facts) for allowed in question.rules.allow_models[1:])
            assert not any(matches(pattern, facts) for pattern in question.rules.deny_models)
            assert compliance_breach(facts, "", question.rules.compliance) is None
            assert facts.lifecycle is not Lifecycle.RETIRED
            assert facts.capabilities & question.features.needs == question.features.needs
            assert planned.input_bound + 1 <= (facts.context_tokens_max or 2**62)


@settings(max_examples=200, deadline=None)
@given(
    world=worlds,
    kinds=st.lists(st.sampled_from((ModelKind.CHAT, ModelKind.EMBEDDING)), min_size=5, max_size=5),
    held=grants,
    ruled=rules,
    asked=st.sampled_from((("a/one",), ("b/*", "c/one"), ("*",), ("group:small",))),
    equal=st.lists(st.lists(st.sampled_from(NAMES), min_size=2, max_size=3).map(tuple), max_size=2),
    weights=st.lists(st.sampled_from((0.0, 1.0, 3.0)), min_size=2, max_size=2),
    longest=st.sampled_from((10, 5_000)),
)
def test_vectors_come_from_one_space_of_permitted_models(
    world: tuple[ModelFacts, ...],
    kinds: list[ModelKind],
    held: tuple[Grant, ...],
    ruled: Rules,
    asked: tuple[str, ...],
    equal: list[tuple[str, ...]],
    weights: list[float],
    longest: int,
) -> None:
    on = board(*(replace(facts, kind=kind) for facts, kind in zip(world, kinds, strict=True)))
    shares = tuple(
        Share(pattern, weight) for pattern, weight in zip(asked, weights, strict=False) if any(weights)
    )
    meant = vector_space.meant(on.models, asked, shares)
    if not meant:
        return
    space = vector_space.space_of(meant, equal)
    features = Features(
        input_tokens_bound=20_000,
        input_tokens_estimate=100,
        kind=ModelKind.EMBEDDING,
        output_cap_asked=0,
        longest_text_bound=longest,
    )
    access = Access(held)
    decision = decide(question(on, features=features, rules=ruled, access=access, asked=space))
    for planned in decision.plan:
        facts = on.candidates[planned.index].model
        assert facts.kind is ModelKind.EMBEDDING
        assert facts.model == meant or any({facts.model, meant} <= set(group) for group in equal)
        assert access.refusal(facts) is None
        assert not any(matches(pattern, facts) for pattern in ruled.deny_models)
        assert compliance_breach(facts, "", ruled.compliance) is None
        assert longest <= (facts.context_tokens_max or 2**62)
        assert planned.output_cap == 0
    assert decision.cascade is None
    _check_refusals(decision)


def _check_refusals(decision: Decision) -> None:
    """Each dropped candidate names its rule and says what was found."""
    planned = {item.index for item in decision.plan}
    for candidate in decision.question.board.candidates:
        dropped = bool(decision.codes[candidate.index])
        assert bool(explain.rule_name(decision, candidate.index)) is dropped
        assert bool(explain.finding(decision, candidate.index)) is dropped
        assert not (dropped and candidate.index in planned)
    assert explain.reason(decision)


def _check_fallback(decision: Decision) -> None:
    """What follows a failure is in the plan, and there is an end."""
    if not decision.plan:
        return
    allowed = {planned.index for planned in decision.plan}
    for retry_class in RetryClass:
        tried, failed = [decision.plan[0].index], decision.plan[0]
        for left in range(8, -1, -1):
            step = fallback.after_failure(
                decision.question.board,
                decision.plan,
                tried,
                failed,
                retry_class,
                retry_after_s=None,
                attempts_left=left,
                left_s=30.0,
                retries_allowed=True,
                draw=0.5,
            )
            if not isinstance(step, Next):
                break
            assert step.planned.index in allowed
            tried.append(step.planned.index)
            failed = step.planned
        assert len(tried) <= 9


@given(cap=st.integers(1, 100_000), bound=st.integers(0, 10**6), nanos=st.integers(0, 10**10))
def test_the_cap_that_fits_is_the_largest(cap: int, bound: int, nanos: int) -> None:

    priced = price("a/one", 1.37, 5.11)
    fitting = cap_that_fits(priced, Extent(bound, cap), nanos)
    if fitting:
        assert (worst_case(priced, Extent(bound, fitting)) or 0) <= nanos
    if fitting < cap:
        assert (worst_case(priced, Extent(bound, fitting + 1)) or 0) > nanos
