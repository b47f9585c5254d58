"""A customer's own prompts with their checks: reads the file, and says how well an answer passes.

    {"id": "capital", "prompt": "What is the capital of France? One word.", "checks": [{"exact": "Paris"}]}
    {"id": "mail", "prompt": "…", "system": "…", "task": "extract", "max_output_tokens": 200,
     "checks": [{"json_schema": {"type": "object", "required": ["name"]}}, {"contains": "Hansen"}]}
    {"id": "tone", "prompt": "…", "checks": [{"judge": "The answer is friendly and names the date."}]}

A prompt's quality is the share of its checks that pass; a judge's check counts as what it grants, 0 to 1.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from services.cli.rows import lines
from services.router.domain.checks import ACCEPTED, json_verdict
from services.router.domain.learning.outcomes import OutcomeError
from turnpike.common.v1 import content_pb2

PROMPTS_MAX: Final = 100_000
OUTPUT_TOKENS_DEFAULT: Final = 512
"""Where a row asks for no cap: what is held per call must be known, and answers that are checked are short."""

JUDGE: Final = "judge"
_FIELDS: Final = frozenset({"id", "prompt", "system", "task", "max_output_tokens", "checks"})


@dataclass(frozen=True, slots=True)
class Check:
    """One of them: its kind, and what is wanted."""

    kind: str
    wanted: Any

    def passes(self, answer: str) -> bool:
        """Whether the answer passes. Not for a judge's check."""
        return _PASSES[self.kind](answer, self.wanted)


@dataclass(frozen=True, slots=True)
class EvalPrompt:
    """One row."""

    id: str
    prompt: str
    checks: tuple[Check, ...]
    system: str = ""
    task: str = ""
    output_tokens_max: int = OUTPUT_TOKENS_DEFAULT

    @property
    def digest(self) -> str:
        """Names the row's content: an answer to another content is another answer."""
        facts = [self.prompt, self.system, self.task, self.output_tokens_max]
        facts += [[check.kind, check.wanted] for check in self.checks]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def judged(self) -> Sequence[Check]:
        """The checks that another model makes."""
        return [check for check in self.checks if check.kind == JUDGE]

    def input(self) -> content_pb2.GenerationInput:
        """The conversation; JSON of a schema is asked for where a check wants it."""
        messages = [_turn(content_pb2.ROLE_USER, self.prompt)]
        if self.system:
            messages.insert(0, _turn(content_pb2.ROLE_SYSTEM, self.system))
        asked = content_pb2.GenerationInput(messages=messages, max_output_tokens=self.output_tokens_max)
        for check in self.checks:
            if check.kind == "json_schema":
                schema = Struct()
                schema.update(check.wanted)
                asked.output_format.json_schema.schema.CopyFrom(schema)
        return asked

    def passed(self, answer: str) -> dict[str, float]:
        """By check (kind and place) 1 for one that passes, 0 for one that does not; a judge's are left out."""
        return {
            f"{check.kind}.{place}": float(check.passes(answer))
            for place, check in enumerate(self.checks)
            if check.kind != JUDGE
        }


def read_prompts(path: Path) -> list[EvalPrompt]:
    """All rows. Raises OutcomeError with everything that is wrong, line by line."""
    found: list[EvalPrompt] = []
    problems: list[str] = []
    seen: set[str] = set()
    for number, row in lines(path):
        wrong = list(_wrong(row))
        if row.get("id") in seen:
            wrong.append(f"another row has the id {row['id']}")
        if len(found) >= PROMPTS_MAX:
            wrong.append(f"a file has at most {PROMPTS_MAX} rows")
        problems += (f"{path}:{number}: {problem}" for problem in wrong)
        if not wrong:
            seen.add(row["id"])
            found.append(_prompt(row))
    if problems:
        raise OutcomeError("\n".join(problems))
    if not found:
        raise OutcomeError(f"{path}: there is no prompt in it")
    return found


def _prompt(row: Mapping[str, Any]) -> EvalPrompt:
    checks = tuple(Check(kind, wanted) for check in row["checks"] for kind, wanted in check.items())
    return EvalPrompt(
        row["id"],
        row["prompt"],
        checks,
        row.get("system", ""),
        row.get("task", ""),
        row.get("max_output_tokens", OUTPUT_TOKENS_DEFAULT),
    )


def _wrong(row: Mapping[str, Any]) -> list[str]:
    found = [f"`{name}` is not known" for name in row.keys() - _FIELDS]
    found += (f"`{name}` is a text, and not empty" for name in ("id", "prompt") if not _text(row.get(name)))
    found += (f"`{name}` is a text" for name in ("system", "task") if not isinstance(row.get(name, ""), str))
    cap = row.get("max_output_tokens", 1)
    if type(cap) is not int or cap < 1:
        found.append("`max_output_tokens` is a number above 0")
    checks = row.get("checks")
    if not isinstance(checks, list) or not checks:
        return [*found, f"`checks` is a list of at least one of {', '.join(_WRONG)}"]
    for place, check in enumerate(checks):
        if not isinstance(check, dict) or len(check) != 1 or next(iter(check)) not in _WRONG:
            found.append(f"`checks[{place}]` is an object with one of {', '.join(_WRONG)}")
            continue
        ((kind, wanted),) = check.items()
        problem = _WRONG[kind](wanted)
        if problem:
            found.append(f"`checks[{place}].{kind}` {problem}")
    return found


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text_wrong(wanted: object) -> str:
    return "" if _text(wanted) else "is a text, and not empty"


def _regex_wrong(wanted: object) -> str:
    if not isinstance(wanted, str) or not wanted:
        return "is a text, and not empty"
    try:
        re.compile(wanted)
    except re.error as error:
        return f"is no regular expression: {error}"
    return ""


def _schema_wrong(wanted: object) -> str:
    if not isinstance(wanted, dict):
        return "is an object"
    try:
        Draft202012Validator.check_schema(wanted)
    except SchemaError as error:
        return f"is no JSON Schema: {error.message}"
    return ""


_WRONG: Final[Mapping[str, Callable[[object], str]]] = {
    "exact": _text_wrong,
    "contains": _text_wrong,
    "regex": _regex_wrong,
    "json_schema": _schema_wrong,
    JUDGE: _text_wrong,
}
_PASSES: Final[Mapping[str, Callable[[str, Any], bool]]] = {
    "exact": lambda answer, wanted: answer.strip() == wanted.strip(),
    "contains": lambda answer, wanted: wanted.casefold() in answer.casefold(),
    "regex": lambda answer, wanted: re.search(wanted, answer) is not None,
    "json_schema": lambda answer, wanted: json_verdict(answer.strip(), wanted) == ACCEPTED,
}


def _turn(role: content_pb2.Role.ValueType, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=content_pb2.TextPart(text=text))])
