"""The words of a belief, and how a request's metadata moves it."""

from collections.abc import Mapping
from math import exp, log2

from services.router.domain.values import value

UNKNOWN = "unknown"

TASKS = (
    "summarise",
    "classify",
    "extract",
    "rewrite",
    "translate",
    "code",
    "maths",
    "question_answering",
    "long_context",
    "structured_output",
    "chat",
    "creative",
    "tool_use",
    UNKNOWN,
)
"""Natural tasks, in the order of every array over them; docs/tasks.md says what each means."""

TaskBelief = Mapping[str, float]
"""Task → probability; they sum to 1 over TASKS."""

DECLARED_TRUST = 0.98  # a caller may mislabel; one time in fifty costs little and lets the words speak.
SCHEMA_LOG_ODDS = (
    2.0  # with an output schema, structured output is about seven times likelier than by the words.
)
TOOLS_LOG_ODDS = 1.5  # tools are often offered to plain conversations too.
LONG_FROM_TOKENS = 8_000  # below it every model of today reads the prompt as one piece.
LONG_LOG_ODDS_PER_DOUBLING = 1.5
LONG_LOG_ODDS_MAX = 6.0  # reached at 128,000 tokens; what is asked about a long text still matters.
REMEMBERED_WEIGHT_MAX = 3.0  # what a route key or system prompt was seen to be counts at most as e^3.


@value(frozen=True, slots=True)
class Hints:
    """What is known of a request beside its words. Defaults: nothing.

    task: as the caller declared it; one that is not in TASKS is kept as it is, for it may be the prior's own.
    instructions: the system prompt, of which the head is read.
    remembered: what earlier requests of the same route key or system-prompt hash turned out to be.
    """

    task: str = ""
    instructions: str = ""
    schema: bool = False
    tools: bool = False
    input_tokens: int = 0
    remembered: TaskBelief | None = None


def adjusted(belief: dict[str, float], hints: Hints) -> dict[str, float]:
    """The words' belief, moved by the metadata and normalised again; itself where nothing moves it."""
    if hints.task:
        rest = 1.0 - DECLARED_TRUST
        moved = {task: probability * rest for task, probability in belief.items()}
        moved[hints.task] = moved.get(hints.task, 0.0) + DECLARED_TRUST
        return moved
    long = hints.input_tokens > LONG_FROM_TOKENS
    if not (hints.schema or hints.tools or long or hints.remembered):
        return belief
    moved = dict(belief)
    if hints.schema:
        moved["structured_output"] *= exp(SCHEMA_LOG_ODDS)
    if hints.tools:
        moved["tool_use"] *= exp(TOOLS_LOG_ODDS)
    if long:
        doublings = log2(hints.input_tokens / LONG_FROM_TOKENS)
        moved["long_context"] *= exp(min(LONG_LOG_ODDS_PER_DOUBLING * doublings, LONG_LOG_ODDS_MAX))
    if hints.remembered:
        for task in moved:
            moved[task] *= exp(REMEMBERED_WEIGHT_MAX * hints.remembered.get(task, 0.0))
    total = sum(moved.values())
    return {task: value / total for task, value in moved.items()}


def likeliest(belief: TaskBelief) -> str:
    """The task to act on; UNKNOWN if that is the likeliest."""
    return max(belief, key=belief.__getitem__)
