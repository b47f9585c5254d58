"""Made-up answers: words without sense, arguments and objects that fit their schemas; the same for the same prompt."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from services.providers.simulator.scenario import Answers

_SENSELESS: Final = (
    "the toll of a road is paid once and the road is then open to all who travel by it in every season "
    "bridges carry what rivers divide while keepers count wheels and lanterns mark the turning of each mile "
    "some walk some ride and a few wait at the gate until the morning bell allows them through again"
)
WORDS: Final = tuple(_SENSELESS.split())
SCHEMA_DEPTH_MAX: Final = 8
"""Deeper parts of a schema are left empty: recursive schemas have no end."""

BYTES_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool the request offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass(slots=True)
class Ask:
    """A request to a simulated vendor, in words all formats share."""

    model: str
    prompt: str
    """Every text of the request, one after another."""
    stream: bool = False
    output_tokens_max: int | None = None
    tools: Sequence[OfferedTool] = ()
    forced_tool: str = ""
    """A name; `*` for any."""
    tools_forbidden: bool = False
    has_results: bool = False
    """True if the last turn holds results of calls: then the model speaks."""
    schema: Mapping[str, Any] | None = None
    """Of the answer. None: text; empty: any object."""
    reasoning: bool = False
    choices: int = 1
    stop: Sequence[str] = ()
    stream_usage: bool = True
    media: int = 0
    """Pictures, sounds and documents in it."""

    @property
    def input_tokens(self) -> int:
        """What the simulated vendor says it read."""
        return 3 + -(-len(self.prompt.encode()) // BYTES_PER_TOKEN) + 258 * self.media


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call of a tool."""

    id: str
    name: str
    arguments_json: str


@dataclass(slots=True)
class Reply:
    """An answer, cut into its tokens."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[MadeCall] = field(default_factory=list)
    finish: str = "stop"
    """`stop`, `length`, `tool` or `filter`."""
    input_tokens: int = 0
    cached_tokens: int = 0
    id: str = ""
    """Twenty-four letters and digits that no other answer has."""

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the thinking."""
        return len(self.reasoning)

    @property
    def output_tokens(self) -> int:
        """All that was produced, thinking included."""
        calls = sum(1 + len(pieces(call.arguments_json)) for call in self.calls)
        return len(self.text) + len(self.reasoning) + calls


def make_reply(ask: Ask, answers: Answers, seed: int, number: int) -> Reply:
    """The answer to `ask`: its words come from the seed and the prompt, its id also from the number."""
    digest = hashlib.sha256(f"{seed}\0{ask.model}\0{ask.prompt}".encode()).hexdigest()
    draw = Random(digest)  # noqa: S311 -- repeatable is what is wanted
    identity = hashlib.sha256(f"{digest}\0{number}".encode()).hexdigest()[:24]
    reply = Reply(input_tokens=ask.input_tokens, id=identity)
    reply.cached_tokens = int(reply.input_tokens * answers.cached_share)
    if ask.reasoning:
        reply.reasoning = _words(draw, draw.randint(8, 24))
    if _calls_tools(ask, answers):
        reply.calls = _calls(ask, answers, draw, identity)
        reply.finish = "tool"
    elif ask.schema is not None:
        reply.text = pieces(json.dumps(instance(ask.schema, draw), ensure_ascii=False))
    elif answers.text:
        reply.text = pieces(answers.text)
    else:
        reply.text = _words(draw, draw.randint(answers.output_tokens_min, answers.output_tokens_max))
    _stop(reply, ask)
    _cap(reply, ask.output_tokens_max)
    return reply


def _calls_tools(ask: Ask, answers: Answers) -> bool:
    if not ask.tools or ask.tools_forbidden or answers.tool_calls == "never":
        return False
    return bool(ask.forced_tool) or answers.tool_calls == "always" or not ask.has_results


def _calls(ask: Ask, answers: Answers, draw: Random, identity: str) -> list[MadeCall]:
    named = [tool for tool in ask.tools if tool.name == ask.forced_tool]
    chosen = named or list(ask.tools[: max(1, answers.calls_per_turn)])
    return [
        MadeCall(
            f"{identity[:16]}{number}", tool.name, json.dumps(instance(tool.schema, draw), ensure_ascii=False)
        )
        for number, tool in enumerate(chosen)
    ]


def _words(draw: Random, count: int) -> list[str]:
    words = [draw.choice(WORDS) for _ in range(max(1, count))]
    made = [words[0].capitalize(), *(" " + word for word in words[1:])]
    made[-1] += "."
    return made


def _stop(reply: Reply, ask: Ask) -> None:
    """Ends the text before the first stop sequence, as vendors do."""
    if not ask.stop or not reply.text:
        return
    text = "".join(reply.text)
    ends = [position for stop in ask.stop if stop and (position := text.find(stop)) >= 0]
    if ends:
        reply.text = pieces(text[: min(ends)])


def _cap(reply: Reply, tokens_max: int | None) -> None:
    if tokens_max is None or reply.output_tokens <= tokens_max:
        return
    reply.finish = "length"
    reply.calls = []
    reply.reasoning = reply.reasoning[:tokens_max]
    reply.text = reply.text[: max(0, tokens_max - len(reply.reasoning))]


def pieces(text: str) -> list[str]:
    """A text as tokens: words with the space before them, as tokenizers cut."""
    made: list[str] = []
    start = 0
    for position in range(1, len(text)):
        if text[position] == " " and text[position - 1] != " ":
            made.append(text[start:position])
            start = position
    if text:
        made.append(text[start:])
    return made


def instance(schema: Mapping[str, Any], draw: Random, depth: int = 0) -> Any:
    """A value that fits the schema, as far as its types, enums, properties and smallest sizes go."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return draw.choice(list(schema["enum"]))
    for joined in ("anyOf", "oneOf", "allOf"):
        if schema.get(joined):
            return instance(schema[joined][0], draw, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    kind = kind.lower() if isinstance(kind, str) else "object" if "properties" in schema else None
    if kind == "object" or (kind is None and depth == 0):
        if depth >= SCHEMA_DEPTH_MAX:
            return {}
        properties: Mapping[str, Any] = schema.get("properties") or {}
        return {name: instance(inner, draw, depth + 1) for name, inner in properties.items()}
    if kind == "array":
        count = max(1, int(schema.get("minItems", 1))) if depth < SCHEMA_DEPTH_MAX else 0
        return [instance(schema.get("items") or {}, draw, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        value = int(low) + draw.randint(1, 9)
        value = min(value, int(schema.get("maximum", value)))
        return value if kind == "integer" else float(value)
    if kind == "boolean":
        return draw.random() < 0.5
    if kind == "null":
        return None
    return draw.choice(WORDS)
