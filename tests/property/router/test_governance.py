"""Whatever policies, grants, wishes and failures there are: nothing forbidden or incapable is planned or tried."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.pricing import Extent
from services.router.domain import explain, fallback
from services.router.domain.access import Access, Grant
from services.router.domain.catalogue import Capability, Compliance, Lifecycle, ModelFacts
from services.router.domain.conditions import BreakerState, Condition
from services.router.domain.constraints import Headroom, compliance_breach
from services.router.domain.fallback import Next, RetryClass
from services.router.domain.features import Features, Strategy
from services.router.domain.patterns import any_matches, matches
from services.router.domain.plan import Decision, decide
from services.router.domain.policy import ComplianceRules, Rules, Share
from services.router.domain.prices import cap_that_fits, worst_case
from tests.support.boards import board, model, price, question

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
)
requests = st.builds(
    Features,
    input_tokens_bound=st.sampled_from((100, 2_000, 50_000)),
    input_tokens_estimate=st.just(100),
    needs=st.builds(Capability, st.sampled_from((0, 1, 3, 9, 130))),
    output_cap_asked=st.sampled_from((None, 50, 5_000)),
    choices=st.sampled_from((1, 3)),
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
