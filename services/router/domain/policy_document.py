"""Reads policy documents: YAML, every mistake with its line, column and path. docs/policies.md describes the language.

The document is read as a tree of nodes and never turned into objects by the YAML library: no tags, no anchors, no
aliases, so that neither a bomb nor a surprise can be in it.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from services.kernel.money import Money
from services.router.domain import patterns
from services.router.domain.features import Strategy
from services.router.domain.policy import (
    ATTEMPTS_MAX,
    ComplianceRules,
    Policy,
    Rules,
    Share,
)
from services.router.domain.utility import Weights

DOCUMENT_BYTES_MAX = 64 * 1024
"""A policy that a person keeps in mind is far smaller."""

DEPTH_MAX = 16
"""Brackets within brackets; the time that YAML's scanner takes grows with the square of it."""

PROBLEMS_MAX = 50
ITEMS_MAX = 200
WORD_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """Something wrong with a document."""

    line: int
    """From 1; 0: the document as a whole."""
    column: int
    path: str
    """Such as `quality.tasks.code`."""
    message: str
    warning: bool = False


@dataclass(slots=True)
class _Reader:
    problems: list[PolicyProblem] = field(default_factory=list)

    def problem(self, node: yaml.Node, path: str, message: str, *, warning: bool = False) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            mark = node.start_mark
            self.problems.append(PolicyProblem(mark.line + 1, mark.column + 1, path, message, warning))


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
    reader = _Reader()
    found = _mapping(reader, root, "", _TOP)
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
    reader: _Reader, root: yaml.Node, found: Mapping[str, Any], policy_id: str, version: int
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
    if found.get("cascade"):
        reader.problem(root, "cascade", "Cascades are not acted on by this version.", warning=True)
    if attempts.get("continue_on_other_model"):
        path = "attempts.continue_on_other_model"
        reader.problem(root, path, "Continuation is not acted on by this version.", warning=True)
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
        output_tokens_min=output.get("min_tokens", defaults.output_tokens_min),
        allow_preview=models.get("preview", defaults.allow_preview),
        allow_deprecated=models.get("deprecated", defaults.allow_deprecated),
        shares=shares if strategy is Strategy.WEIGHTED else (),
        probe_share=found.get("probe_share", defaults.probe_share),
        hedge_after_s=attempts.get("hedge_after_s"),
        cascade=found.get("cascade", False),
        use_cache=cache.get("always", False),
        cache_ttl_s=cache.get("ttl_s"),
        continue_on_other_model=attempts.get("continue_on_other_model", False),
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


# ---- what a field may hold -------------------------------------------------------------------------------------------

Read = Callable[[_Reader, yaml.Node, str], Any]
"""Reads one node; tells what is wrong and then returns None."""


def _mapping(reader: _Reader, node: yaml.Node, path: str, fields: Mapping[str, Read]) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        reader.problem(node, path, "It must be a mapping of fields to values.")
        return {}
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
        at = f"{path}.{name}" if path else str(name)
        read = fields.get(name)
        if read is None:
            near = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(sorted(fields))}."
            reader.problem(key_node, at, f"There is no field `{name}` here{hint}")
            continue
        if name in found:
            reader.problem(key_node, at, f"`{name}` is there twice.")
        value = read(reader, value_node, at)
        if value is not None:
            found[name] = value
    return found


def _fields(fields: Mapping[str, Read]) -> Read:
    return lambda reader, node, path: _mapping(reader, node, path, fields)


def _scalar(reader: _Reader, node: yaml.Node, path: str, what: str) -> str | None:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    reader.problem(node, path, f"It must be {what}.")
    return None


def _number(low: float, high: float, *, above: bool = False) -> Read:
    def read(reader: _Reader, node: yaml.Node, path: str) -> float | None:
        text = _scalar(reader, node, path, "a number")
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high or (above and number == low):
            bound = f"above {low:g} and up to {high:g}" if above else f"{low:g} to {high:g}"
            reader.problem(node, path, f"It must be a number, {bound}; it is `{text[:40]}`.")
            return None
        return number

    return read


def _whole(low: int, high: int) -> Read:
    def read(reader: _Reader, node: yaml.Node, path: str) -> int | None:
        text = _scalar(reader, node, path, "a whole number")
        if text is None:
            return None
        digits = text.replace("_", "")
        if not digits.isascii() or not digits.isdigit() or not low <= int(digits) <= high:
            reader.problem(node, path, f"It must be a whole number, {low} to {high}; it is `{text[:40]}`.")
            return None
        return int(digits)

    return read


def _yes_no(reader: _Reader, node: yaml.Node, path: str) -> bool | None:
    text = _scalar(reader, node, path, "true or false")
    if text not in ("true", "false"):
        if text is not None:
            reader.problem(node, path, f"It must be true or false; it is `{text[:40]}`.")
        return None
    return text == "true"


def _money(reader: _Reader, node: yaml.Node, path: str) -> Money | None:
    text = _scalar(reader, node, path, "an amount in dollars")
    if text is None:
        return None
    try:
        money = Money.parse(text)
    except ValueError as error:
        reader.problem(node, path, f"It {error}.")
        return None
    if money.nanos < 0:
        reader.problem(node, path, "It must not be negative.")
        return None
    return money


def _choice(options: Mapping[str, Any]) -> Read:
    def read(reader: _Reader, node: yaml.Node, path: str) -> Any:
        text = _scalar(reader, node, path, f"one of {', '.join(options)}")
        if text is not None and text not in options:
            reader.problem(node, path, f"`{text[:40]}` is none of {', '.join(options)}.")
            return None
        return options.get(text) if text is not None else None

    return read


def _word(reader: _Reader, node: yaml.Node, path: str) -> str | None:
    text = _scalar(reader, node, path, "a word")
    if text is not None and not 0 < len(text) <= WORD_LENGTH_MAX:
        reader.problem(node, path, f"It must have 1 to {WORD_LENGTH_MAX} characters.")
        return None
    return text


def _pattern(reader: _Reader, node: yaml.Node, path: str) -> str | None:
    text = _scalar(reader, node, path, "a pattern of models")
    wrong = patterns.problem(text) if text is not None else None
    if wrong:
        reader.problem(node, path, wrong)
        return None
    return text


def _list(read_item: Read) -> Read:
    def read(reader: _Reader, node: yaml.Node, path: str) -> tuple[Any, ...] | None:
        if not isinstance(node, yaml.SequenceNode):
            reader.problem(node, path, "It must be a list.")
            return None
        if len(node.value) > ITEMS_MAX:
            reader.problem(node, path, f"It has at most {ITEMS_MAX} items.")
            return None
        items = [read_item(reader, item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        return tuple(item for item in items if item is not None)

    return read


def _by_name(read_value: Read) -> Read:
    def read(reader: _Reader, node: yaml.Node, path: str) -> dict[str, Any] | None:
        if not isinstance(node, yaml.MappingNode):
            reader.problem(node, path, "It must be a mapping of names to values.")
            return None
        found: dict[str, Any] = {}
        for key_node, value_node in node.value[:ITEMS_MAX]:
            name = _word(reader, key_node, path)
            if name is not None:
                value = read_value(reader, value_node, f"{path}.{name}")
                if value is not None:
                    found[name] = value
        return found

    return read


def _share(reader: _Reader, node: yaml.Node, path: str) -> dict[str, Any] | None:
    found = _mapping(reader, node, path, {"model": _pattern, "weight": _number(0, 1_000_000)})
    missing = [name for name in ("model", "weight") if name not in found]
    if missing and isinstance(node, yaml.MappingNode):
        reader.problem(node, path, f"It needs {' and '.join(missing)}.")
    return None if missing else found


def _compliance(reader: _Reader, node: yaml.Node, path: str) -> ComplianceRules:
    found = _mapping(
        reader,
        node,
        path,
        {
            "regions": _list(_word),
            "retention_days_max": _whole(0, 36_500),
            "no_training": _yes_no,
            "certifications": _list(_word),
        },
    )
    return ComplianceRules(
        frozenset(found.get("regions", ())),
        found.get("retention_days_max"),
        found.get("no_training", False),
        frozenset(found.get("certifications", ())),
    )


_QUALITY = _number(0, 1)
_TOKENS = _whole(1, 10_000_000)
_TOP: Mapping[str, Read] = {
    "strategy": _choice(
        {strategy.value: strategy for strategy in Strategy if strategy is not Strategy.PINNED}
    ),
    "weights": _fields({name: _number(0, 1000) for name in ("quality", "cost", "latency")}),
    "models": _fields(
        {"allow": _list(_pattern), "deny": _list(_pattern), "preview": _yes_no, "deprecated": _yes_no}
    ),
    "quality": _fields({"min": _QUALITY, "tasks": _by_name(_QUALITY)}),
    "ceilings": _fields(
        {
            "cost_usd": _money,
            "time_to_first_token_s": _number(0, 3600, above=True),
            "duration_s": _number(0, 86_400, above=True),
        }
    ),
    "output": _fields(
        {"max_tokens": _TOKENS, "default_tokens": _TOKENS, "lower_cap": _yes_no, "min_tokens": _TOKENS}
    ),
    "attempts": _fields(
        {
            "max": _whole(1, ATTEMPTS_MAX),
            "hedge_after_s": _number(0, 3600, above=True),
            "continue_on_other_model": _yes_no,
        }
    ),
    "compliance": _compliance,
    "data_classes": _by_name(_compliance),
    "unknown_data_class": _choice({"allow": "allow", "deny": "deny"}),
    "tasks": _fields({"denied": _list(_word), "required": _yes_no}),
    "shares": _list(_share),
    "probe_share": _number(0, 0.5),
    "cascade": _yes_no,
    "cache": _fields({"ttl_s": _number(0, 30 * 86_400, above=True), "always": _yes_no}),
}
