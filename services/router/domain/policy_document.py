"""Reads policy documents: YAML, every mistake with its line, column and path. docs/policies.md describes the language.

The document is read as a tree of nodes and never turned into objects by the YAML library: no tags, no anchors, no
aliases, so that neither a bomb nor a surprise can be in it.
"""

import math
from collections.abc import Mapping
from typing import Any

import yaml

from services.router.domain.features import Priority, Strategy
from services.router.domain.policy import (
    ATTEMPTS_MAX,
    CascadeRules,
    ComplianceRules,
    MirrorRules,
    Policy,
    Reservation,
    Rules,
    Share,
)
from services.router.domain.policy_fields import (
    PolicyProblem,
    Read,
    Reader,
    by_name,
    choice,
    fields_of,
    list_of,
    mapping,
    model_name,
    money,
    number,
    pattern,
    whole,
    word,
    yes_no,
)
from services.router.domain.utility import Weights

DOCUMENT_BYTES_MAX = 64 * 1024
"""A policy that a person keeps in mind is far smaller."""

PROGRESSIVE_TOKENS_MIN = 1_024
"""Holds that grow have a margin that is never given out; smaller steps would be mostly that, and many."""

DEPTH_MAX = 16
"""Brackets within brackets; the time that YAML's scanner takes grows with the square of it."""


def read_policy(
    document: str, *, policy_id: str = "", version: int = 0
) -> tuple[Policy | None, tuple[PolicyProblem, ...]]:
    """The policy that a document describes, and what is wrong with it. None if it cannot be put in force."""
    if len(document.encode()) > DOCUMENT_BYTES_MAX:
        return None, (PolicyProblem(0, 0, "", f"A document has at most {DOCUMENT_BYTES_MAX} bytes."),)
    if _depth(document) > DEPTH_MAX:
        return None, (PolicyProblem(0, 0, "", f"Lists and mappings are nested at most {DEPTH_MAX} deep."),)
    try:
        for event in yaml.parse(document, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                return None, (_at(event.start_mark, "Anchors and aliases are not taken."),)
        root = yaml.compose(document, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        return None, (_at(error.problem_mark, f"It is not YAML: {error.problem}."),)
    except (yaml.YAMLError, RecursionError) as error:
        return None, (PolicyProblem(0, 0, "", f"It is not YAML: {str(error)[:200]}"),)
    if root is None:
        return Policy(policy_id, version, Rules(policy=_named(policy_id, version))), ()
    reader = Reader()
    found = mapping(reader, root, "", _TOP)
    policy = _policy(reader, root, found, policy_id, version)
    fatal = any(not problem.warning for problem in reader.problems)
    return (None if fatal else policy), tuple(sorted(reader.problems, key=lambda problem: problem.line))


# libyaml's loader where the wheel has it: some twenty times as fast as Python's.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _depth(document: str) -> int:
    """How deep brackets are nested at most, those in texts counted too."""
    depth = deepest = 0
    for character in document:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth = max(0, depth - 1)
    return deepest


def _at(mark: Any, message: str) -> PolicyProblem:
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    return PolicyProblem(line, column, "", message)


def _named(policy_id: str, version: int) -> str:
    return f"{policy_id}@{version}" if policy_id else ""


def _policy(
    reader: Reader, root: yaml.Node, found: Mapping[str, Any], policy_id: str, version: int
) -> Policy:
    models = found.get("models") or {}
    quality = found.get("quality") or {}
    ceilings = found.get("ceilings") or {}
    output = found.get("output") or {}
    attempts = found.get("attempts") or {}
    tasks = found.get("tasks") or {}
    cache = found.get("cache") or {}
    weights = found.get("weights")
    defaults = Rules()
    strategy = found.get("strategy") or defaults.strategy
    shares = tuple(Share(item["model"], item["weight"]) for item in found.get("shares") or ())
    if strategy is Strategy.WEIGHTED and not any(share.weight > 0 for share in shares):
        reader.problem(root, "shares", "The strategy `weighted` needs shares, one of them above 0.")
    if shares and strategy is not Strategy.WEIGHTED:
        reader.problem(root, "shares", "Shares count with the strategy `weighted` alone.", warning=True)
    if output.get("default_tokens", 0) > output.get("max_tokens", math.inf):
        reader.problem(root, "output.default_tokens", "It is above `max_tokens`.")
    cost = ceilings.get("cost_usd")
    rules = Rules(
        policy=_named(policy_id, version),
        strategy=strategy,
        weights=Weights(weights.get("quality", 0.0), weights.get("cost", 0.0), weights.get("latency", 0.0))
        if weights
        else None,
        allow_models=(models["allow"],) if models.get("allow") else (),
        deny_models=models.get("deny") or (),
        compliance=found.get("compliance") or ComplianceRules(),
        quality_min=quality.get("min"),
        cost_nanos_max=cost.nanos if cost is not None else None,
        ttft_s_max=ceilings.get("time_to_first_token_s"),
        duration_s_max=ceilings.get("duration_s"),
        attempts_max=attempts.get("max", defaults.attempts_max),
        attempts_limit=attempts.get("max", defaults.attempts_limit),
        output_tokens_max=output.get("max_tokens"),
        output_tokens_default=output.get("default_tokens", defaults.output_tokens_default),
        lower_output_cap=output.get("lower_cap", False),
        progressive_tokens=output.get("progressive_tokens"),
        output_tokens_min=output.get("min_tokens", defaults.output_tokens_min),
        allow_preview=models.get("preview", defaults.allow_preview),
        allow_deprecated=models.get("deprecated", defaults.allow_deprecated),
        language_required=models.get("language", False),
        shares=shares if strategy is Strategy.WEIGHTED else (),
        probe_share=found.get("probe_share", defaults.probe_share),
        hedge_after_s=attempts.get("hedge_after_s"),
        cascade=found.get("cascade") or None,
        use_cache=cache.get("always", False),
        cache_ttl_s=cache.get("ttl_s"),
        continue_on_other_model=attempts.get("continue_on_other_model", False),
        mirror=found.get("mirror"),
        reserved=found.get("reserve", ()),
        equal_embeddings=(found.get("embeddings") or {}).get("equal", ()),
    )
    return Policy(
        policy_id,
        version,
        rules,
        data_classes=found.get("data_classes") or {},
        unknown_class=found.get("unknown_data_class") or "allow",
        tasks=quality.get("tasks") or {},
        denied_tasks=frozenset(tasks.get("denied") or ()),
        declared_task_required=tasks.get("required", False),
    )


def _share(reader: Reader, node: yaml.Node, path: str) -> dict[str, Any] | None:
    found = mapping(reader, node, path, {"model": pattern, "weight": number(0, 1_000_000)})
    missing = [name for name in ("model", "weight") if name not in found]
    if missing and isinstance(node, yaml.MappingNode):
        reader.problem(node, path, f"It needs {' and '.join(missing)}.")
    return None if missing else found


def _cascade(reader: Reader, node: yaml.Node, path: str) -> CascadeRules | bool | None:
    if isinstance(node, yaml.ScalarNode):
        return CascadeRules() if yes_no(reader, node, path) else False
    found = mapping(
        reader, node, path, {"check": choice(_CHECKS), "options": list_of(word), "streams": yes_no}
    )
    rules = CascadeRules(found.get("check", "json"), found.get("options", ()), found.get("streams", False))
    if rules.check == "option" and len(rules.options) < 2:
        reader.problem(node, path, "The check `option` needs two options or more.")
    if rules.options and rules.check not in ("option", "agreement"):
        reader.problem(node, path, f"Options mean nothing to the check `{rules.check}`.")
    return rules


def _mirror(reader: Reader, node: yaml.Node, path: str) -> MirrorRules | None:
    found = mapping(reader, node, path, {"model": model_name, "share": number(0, 1), "key": word})
    if "key" not in found:
        reader.problem(node, path, "It needs a key, whose budgets pay for the mirrored traffic.")
        return None
    if ("model" in found) != ("share" in found):
        reader.problem(node, path, "A model and its share go together.")
    return MirrorRules(found["key"], found.get("model", ""), found.get("share", 0.0))


def _reservation(reader: Reader, node: yaml.Node, path: str) -> Reservation | None:
    fields: Mapping[str, Read] = {
        "models": pattern,
        "share": number(0, 1, above=True),
        "priorities": list_of(choice({priority.value: priority for priority in Priority})),
        "tasks": list_of(word),
    }
    found = mapping(reader, node, path, fields)
    models = found.get("models", "")
    if "*" in models or not models or "share" not in found:
        reader.problem(
            node,
            path,
            "It needs models (`group:…`, `provider:…` or one model, as the rate counts) and a share.",
        )
        return None
    if not found.get("priorities") and not found.get("tasks"):
        reader.problem(node, path, "It needs priorities or tasks that the share is kept for.")
    return Reservation(
        models if models.startswith(("group:", "provider:")) else f"model:{models}",
        round(found["share"] * 1000),
        frozenset(found.get("priorities", ())),
        frozenset(found.get("tasks", ())),
    )


_CHECKS = {name: name for name in ("json", "option", "number", "agreement")}


def _compliance(reader: Reader, node: yaml.Node, path: str) -> ComplianceRules:
    found = mapping(
        reader,
        node,
        path,
        {
            "regions": list_of(word),
            "retention_days_max": whole(0, 36_500),
            "no_training": yes_no,
            "certifications": list_of(word),
        },
    )
    return ComplianceRules(
        frozenset(found.get("regions", ())),
        found.get("retention_days_max"),
        found.get("no_training", False),
        frozenset(found.get("certifications", ())),
    )


_QUALITY = number(0, 1)
_TOKENS = whole(1, 10_000_000)
_TOP: Mapping[str, Read] = {
    "strategy": choice(
        {strategy.value: strategy for strategy in Strategy if strategy is not Strategy.PINNED}
    ),
    "weights": fields_of({name: number(0, 1000) for name in ("quality", "cost", "latency")}),
    "models": fields_of(
        {
            "allow": list_of(pattern),
            "deny": list_of(pattern),
            "preview": yes_no,
            "deprecated": yes_no,
            "language": yes_no,
        }
    ),
    "quality": fields_of({"min": _QUALITY, "tasks": by_name(_QUALITY)}),
    "ceilings": fields_of(
        {
            "cost_usd": money,
            "time_to_first_token_s": number(0, 3600, above=True),
            "duration_s": number(0, 86_400, above=True),
        }
    ),
    "output": fields_of(
        {
            "max_tokens": _TOKENS,
            "default_tokens": _TOKENS,
            "lower_cap": yes_no,
            "min_tokens": _TOKENS,
            "progressive_tokens": whole(PROGRESSIVE_TOKENS_MIN, 10_000_000),
        }
    ),
    "attempts": fields_of(
        {
            "max": whole(1, ATTEMPTS_MAX),
            "hedge_after_s": number(0, 3600, above=True),
            "continue_on_other_model": yes_no,
        }
    ),
    "compliance": _compliance,
    "data_classes": by_name(_compliance),
    "unknown_data_class": choice({"allow": "allow", "deny": "deny"}),
    "tasks": fields_of({"denied": list_of(word), "required": yes_no}),
    "shares": list_of(_share),
    "probe_share": number(0, 0.5),
    "cascade": _cascade,
    "mirror": _mirror,
    "reserve": list_of(_reservation),
    "embeddings": fields_of({"equal": list_of(list_of(model_name))}),
    "cache": fields_of({"ttl_s": number(0, 30 * 86_400, above=True), "always": yes_no}),
}
