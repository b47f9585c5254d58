import pytest

from services.router.domain.features import Strategy
from services.router.domain.policy import ComplianceRules, Share
from services.router.domain.policy_document import read_policy

WHOLE = """\
strategy: weighted
weights: {quality: 1, cost: 0.3, latency: 0.1}
models:
  allow: ["openai/*", group:small]
  deny: [openai/gpt-4o]
  preview: true
quality:
  min: 0.5
  tasks: {code: 0.8}
ceilings: {cost_usd: 0.05, time_to_first_token_s: 2, duration_s: 60}
output: {max_tokens: 8_000, default_tokens: 1000, lower_cap: true, min_tokens: 32}
attempts: {max: 4, hedge_after_s: 1.5, continue_on_other_model: true}
compliance: {regions: [eu], retention_days_max: 30, no_training: true, certifications: [iso27001]}
data_classes:
  secret: {regions: [eu-central-1]}
unknown_data_class: deny
tasks: {denied: [creative], required: true}
shares:
  - {model: openai/gpt-5, weight: 9}
  - {model: openai/gpt-6, weight: 1}
probe_share: 0.01
cascade: {check: agreement, options: [yes it is, no], streams: true}
embeddings: {equal: [[a/one, b/one]]}
cache: {ttl_s: 300, always: true}
"""


def test_a_whole_document_is_read() -> None:
    policy, problems = read_policy(WHOLE, policy_id="pol_1", version=3)
    assert problems == ()
    assert policy is not None
    rules = policy.rules
    assert rules.policy == "pol_1@3"
    assert rules.strategy is Strategy.WEIGHTED
    assert rules.allow_models == (("openai/*", "group:small"),)
    assert rules.cost_nanos_max == 50_000_000
    assert (rules.output_tokens_max, rules.output_tokens_min, rules.lower_output_cap) == (8000, 32, True)
    assert rules.compliance == ComplianceRules(frozenset({"eu"}), 30, True, frozenset({"iso27001"}))
    assert rules.shares == (Share("openai/gpt-5", 9.0), Share("openai/gpt-6", 1.0))
    assert policy.tasks == {"code": 0.8}
    assert policy.data_classes["secret"].regions == {"eu-central-1"}
    assert (policy.unknown_class, policy.declared_task_required) == ("deny", True)
    assert rules.cache_ttl_s == 300


def test_an_empty_document_is_the_default() -> None:
    policy, problems = read_policy("")
    assert problems == ()
    assert policy is not None
    assert policy.rules.strategy is Strategy.BALANCED


@pytest.mark.parametrize(
    ("document", "line", "path", "word"),
    [
        ("strategy: cheapest", 1, "strategy", "none of"),
        ("\nstratgy: cost", 2, "stratgy", "did you mean `strategy`"),
        ("quality:\n  min: 1.5", 2, "quality.min", "0 to 1"),
        ("quality: {min: .nan}", 1, "quality.min", "number"),
        ("ceilings:\n  cost_usd: -1", 2, "ceilings.cost_usd", "negative"),
        ("ceilings:\n  cost_usd: cheap", 2, "ceilings.cost_usd", "dollars"),
        ("models:\n  allow:\n    - ok/*\n    - 'not ok'", 4, "models.allow[1]", "no pattern"),
        ("attempts: {max: 99}", 1, "attempts.max", "1 to 8"),
        ("cascade: yes", 1, "cascade", "true or false"),
        ("models: [a]", 1, "models", "mapping"),
        ("strategy: cost\nstrategy: latency", 2, "strategy", "twice"),
        ("strategy: weighted", 1, "shares", "needs shares"),
        ("shares: [{model: a/b}]", 1, "shares[0]", "weight"),
        ("a: &x 1\nb: *x", 1, "", "Anchors"),
        ("a: [", 1, "", "not YAML"),
        ("output: {max_tokens: 10, default_tokens: 20}", 1, "output.default_tokens", "above"),
    ],
)
def test_a_mistake_is_told_with_its_place(document: str, line: int, path: str, word: str) -> None:
    policy, problems = read_policy(document)
    assert policy is None
    found = [problem for problem in problems if problem.path == path and word in problem.message]
    assert found, problems
    assert found[0].line >= line


def test_all_mistakes_are_told_at_once() -> None:
    _, problems = read_policy("strategy: x\nquality: {min: 7}\nnothing: 1")
    assert [problem.line for problem in problems] == [1, 2, 3]


def test_a_bomb_is_not_unfolded() -> None:
    bomb = "a: &a [x,x]\n" + "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]" for n in range(20)
    )
    assert read_policy(bomb)[0] is None
    assert read_policy("x" * 70_000)[0] is None
    assert read_policy("[" * 5_000)[0] is None
