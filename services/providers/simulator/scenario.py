"""What the simulated vendors do: pace, limits, and rules by which something goes wrong. Pure; decided beforehand.

A scenario is TOML or JSON:

    seed = 7
    [pace]
    first_token_ms = 120
    tokens_per_s = 80
    [limits]
    requests_per_minute = 60
    [[rules]]                      # the first that matches a request decides
    fault = "overloaded"
    from_s = 10                    # seconds since the scenario began
    until_s = 25
    vendors = ["anthropic"]
    [[rules]]
    fault = "truncate"
    after_tokens = 5
    probability = 0.1
    models = ["gpt-*"]
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Final, TypeVar

RULES_MAX: Final = 1_000
"""Every request looks at them in turn."""

VENDORS: Final = ("openai", "anthropic", "gemini", "mistral")


class Fault(StrEnum):
    """What can go wrong."""

    NONE = "none"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    AUTHENTICATION = "authentication"
    MODEL_NOT_FOUND = "model_not_found"
    CONTEXT_LENGTH = "context_length"
    BAD_REQUEST = "bad_request"
    CONTENT_FILTER = "content_filter"
    REFUSE = "refuse"
    """The connection is closed without an answer."""
    STALL = "stall"
    """Nothing comes any more after `after_tokens` tokens, for `stall_s` seconds; then it goes on."""
    TRUNCATE = "truncate"
    """The answer ends in the middle, in good order, without its last events."""
    RESET = "reset"
    """The connection breaks in the middle."""
    ERROR_EVENT = "error_event"
    """The vendor's error event in the middle of a stream."""
    GARBAGE = "garbage"
    """An answer that is no JSON."""


IN_STREAM: Final = frozenset(
    {
        Fault.STALL,
        Fault.TRUNCATE,
        Fault.RESET,
        Fault.ERROR_EVENT,
        Fault.GARBAGE,
        Fault.NONE,
        Fault.CONTENT_FILTER,
    }
)
"""Faults of an answer that has begun; the others are answers of their own."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast answers come."""

    first_token_ms: float = 40.0
    tokens_per_s: float = 200.0
    """0: as fast as it goes."""
    jitter: float = 0.1
    """Share by which both vary from request to request, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may do; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    """Requests at the same time over all keys; more are answered as overload."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What answers are like."""

    output_tokens_min: int = 20
    output_tokens_max: int = 60
    tool_calls: str = "auto"
    """`auto`: the first tool is called whenever tools are offered and no result is there yet; `never`; `always`."""
    calls_per_turn: int = 1
    """How many calls a turn with calls has, where several tools are offered."""
    text: str = ""
    """Said instead of made-up words."""
    cached_share: float = 0.0
    """Share of the prompt reported as read from the cache, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When something goes wrong, and what. Empty conditions hold for every request."""

    fault: Fault = Fault.NONE
    vendors: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Patterns such as `gpt-*`."""
    instances: tuple[str, ...] = ()
    """The part of the address before the vendor: two instances of a vendor are two endpoints."""
    from_s: float = 0.0
    until_s: float | None = None
    first_requests: int | None = None
    """Only the first so many requests that match everything else."""
    every: int | None = None
    """Only each n-th request that matches everything else."""
    probability: float = 1.0
    after_tokens: int = 0
    stall_s: float = 3_600.0
    retry_after_s: float | None = None
    pace: Pace | None = None
    """Another pace for the requests it matches; with no fault it is only this."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it."""

    seed: int = 0
    pace: Pace = Pace()
    limits: Limits = Limits()
    answers: Answers = Answers()
    rules: tuple[Rule, ...] = ()
    require_key: bool = True
    """False: requests without any key are answered too."""


@dataclass(frozen=True, slots=True)
class Script:
    """What happens to one request."""

    fault: Fault
    first_token_s: float
    token_interval_s: float
    after_tokens: int = 0
    stall_s: float = 0.0
    retry_after_s: float | None = None


@dataclass(slots=True)
class Director:
    """Decides for request after request; remembers only how often each rule matched."""

    scenario: Scenario
    _matched: dict[int, int] = field(default_factory=dict)
    _requests: int = 0

    def script(self, vendor: str, model: str, instance: str, elapsed_s: float) -> Script:
        """What happens to the next request. The same order of requests gives the same scripts."""
        draw = Random(f"{self.scenario.seed}:{self._requests}")  # noqa: S311 -- repeatable is what is wanted
        self._requests += 1
        rule = self._rule(vendor, model, instance, elapsed_s, draw) or Rule()
        pace = rule.pace or self.scenario.pace
        slower = 1.0 + pace.jitter * (2.0 * draw.random() - 1.0)
        return Script(
            fault=rule.fault,
            first_token_s=pace.first_token_ms * slower / 1e3,
            token_interval_s=slower / pace.tokens_per_s if pace.tokens_per_s > 0 else 0.0,
            after_tokens=rule.after_tokens,
            stall_s=rule.stall_s,
            retry_after_s=rule.retry_after_s,
        )

    def _rule(self, vendor: str, model: str, instance: str, elapsed_s: float, draw: Random) -> Rule | None:
        for number, rule in enumerate(self.scenario.rules):
            chance = draw.random()  # drawn for every rule, so that adding one does not move the others' luck
            if (
                (rule.vendors and vendor not in rule.vendors)
                or (rule.instances and instance not in rule.instances)
                or (rule.models and not any(fnmatchcase(model, pattern) for pattern in rule.models))
                or elapsed_s < rule.from_s
                or (rule.until_s is not None and elapsed_s >= rule.until_s)
            ):
                continue
            count = self._matched[number] = self._matched.get(number, 0) + 1
            if rule.first_requests is not None and count > rule.first_requests:
                continue
            if rule.every is not None and count % rule.every:
                continue
            if chance < rule.probability:
                return rule
        return None


class ScenarioInvalid(ValueError):
    """The scenario cannot be played; the message has every problem."""


def parse_scenario(text: str) -> Scenario:
    """A scenario from TOML or JSON. Raises ScenarioInvalid with all problems."""
    try:
        data = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as broken:
        raise ScenarioInvalid(f"is neither JSON nor TOML: {broken}") from None
    return scenario_of(data)


def scenario_of(data: Mapping[str, Any]) -> Scenario:
    """A scenario from parsed data. Raises ScenarioInvalid with all problems."""
    problems: list[str] = []
    known = {item.name for item in fields(Scenario)}
    problems += (f"{name} is not known" for name in data if name not in known)
    rules = data.get("rules", ())
    if not isinstance(rules, list | tuple) or len(rules) > RULES_MAX:
        problems.append(f"rules is not a list of at most {RULES_MAX}")
        rules = ()
    scenario = Scenario(
        seed=_plain(data, "seed", int, 0, problems),
        pace=_made(Pace, data.get("pace", {}), "pace", problems),
        limits=_made(Limits, data.get("limits", {}), "limits", problems),
        answers=_made(Answers, data.get("answers", {}), "answers", problems),
        rules=tuple(_rule(entry, f"rules[{number}]", problems) for number, entry in enumerate(rules)),
        require_key=_plain(data, "require_key", bool, True, problems),
    )
    if scenario.answers.output_tokens_min > scenario.answers.output_tokens_max:
        problems.append("answers: output_tokens_min is above output_tokens_max")
    if problems:
        raise ScenarioInvalid("the scenario is invalid: " + "; ".join(problems))
    return scenario


Made = TypeVar("Made", Pace, Limits, Answers, Rule)
Kind = TypeVar("Kind", int, bool)


def _plain(
    data: Mapping[str, Any], name: str, kind: type[Kind], otherwise: Kind, problems: list[str]
) -> Kind:
    value = data.get(name, otherwise)
    if type(value) is not kind:
        problems.append(f"{name} is not of the kind {kind.__name__}")
        return otherwise
    return value


def _made(kind: type[Made], data: Any, place: str, problems: list[str]) -> Made:
    """A value of `kind` with the fields in `data`; numbers must not be negative, lists become tuples."""
    if not isinstance(data, Mapping):
        problems.append(f"{place} is not a table")
        return kind()
    known = {item.name for item in fields(kind)}
    given: dict[str, Any] = {}
    for name, value in data.items():
        if name not in known:
            problems.append(f"{place}: {name} is not known")
        elif isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            problems.append(f"{place}: {name} is negative")
        elif isinstance(value, list):
            given[name] = tuple(value)
        else:
            given[name] = value
    return replace(kind(), **given)


def _rule(data: Any, place: str, problems: list[str]) -> Rule:
    if not isinstance(data, Mapping):
        problems.append(f"{place} is not a table")
        return Rule()
    plain = {name: value for name, value in data.items() if name not in ("fault", "pace")}
    rule = _made(Rule, plain, place, problems)
    try:
        fault = Fault(data.get("fault", "none"))
    except ValueError:
        problems.append(f"{place}: {data.get('fault')} is not one of {', '.join(Fault)}")
        fault = Fault.NONE
    problems += (f"{place}: {vendor} is not simulated" for vendor in rule.vendors if vendor not in VENDORS)
    if rule.every == 0:
        problems.append(f"{place}: every is 0")
    pace = _made(Pace, data["pace"], f"{place}: pace", problems) if "pace" in data else None
    return replace(rule, fault=fault, pace=pace)


def scenario_data(scenario: Scenario) -> dict[str, Any]:
    """The scenario as plain data, as the control endpoint shows it."""
    return asdict(scenario)
