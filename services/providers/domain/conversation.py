"""A conversation as vendors with two roles want it: system apart, turns that alternate, results after their calls.

Anthropic, Bedrock and Gemini refuse histories that others take. The rules, the same for all of them:

1. System messages are taken out, wherever they stand, and given apart in their order.
2. Neighbouring messages of one side are one turn. Tool results belong to the user's side.
3. Results stand first in their turn, in the order of their calls. One that answers no call of the turn before becomes
   text; a call that was not answered gets a result that says so. Names missing in results are taken from their calls.
4. Calls without an id get one by their place, and their results the same.
5. A conversation that begins with the model gets a user's turn before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from turnpike.common.v1 import content_pb2

Part = content_pb2.Part
Role = content_pb2.Role
ToolResult = content_pb2.ToolResult

NO_RESULT: Final = "The tool gave no result."
OPENING: Final = "Please go on."


@dataclass(slots=True)
class Turn:
    """What one side says before the other does."""

    assistant: bool
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class Conversation:
    """System text and turns that alternate, the user's first."""

    system: list[Part]
    turns: list[Turn]


def conversation(messages: Iterable[content_pb2.Message]) -> Conversation:
    """The messages by the rules above. Parts are the messages' own, not copies, unless a rule changes them."""
    system: list[Part] = []
    turns: list[Turn] = []
    for message in messages:
        if message.role == Role.ROLE_SYSTEM:
            system.extend(message.parts)
            continue
        assistant = message.role == Role.ROLE_ASSISTANT
        if not turns or turns[-1].assistant != assistant:
            turns.append(Turn(assistant))
        turns[-1].parts.extend(message.parts)
    turns = [turn for turn in turns if turn.parts]
    if turns and turns[0].assistant:
        turns.insert(0, Turn(False, [Part(text=content_pb2.TextPart(text=OPENING))]))
    _pair_calls_with_results(turns)
    return Conversation(system, turns)


def _pair_calls_with_results(turns: list[Turn]) -> None:
    made = 0
    open_calls: list[content_pb2.ToolCall] = []
    for turn in turns:
        if not turn.assistant:
            if open_calls or any(part.WhichOneof("kind") == "tool_result" for part in turn.parts):
                turn.parts = _answered(open_calls, turn.parts)
            open_calls = []
            continue
        for number, part in enumerate(turn.parts):
            if part.WhichOneof("kind") != "tool_call":
                continue
            if not part.tool_call.id:
                copied = Part()
                copied.CopyFrom(part)
                copied.tool_call.id = f"call_{made}"
                turn.parts[number] = part = copied
            made += 1
            open_calls.append(part.tool_call)


def _answered(calls: Sequence[content_pb2.ToolCall], parts: list[Part]) -> list[Part]:
    """The parts of a user's turn after a turn with `calls`: their results first, then everything else."""
    results: dict[str, Part] = {}
    rest: list[Part] = []
    for part in parts:
        if part.WhichOneof("kind") != "tool_result":
            rest.append(part)
            continue
        call = _call_of(part.tool_result, calls, results)
        if call is None:
            rest.extend(_as_text(part.tool_result))
        elif part.tool_result.name == call.name and part.tool_result.tool_call_id == call.id:
            results[call.id] = part
        else:
            named = Part()
            named.CopyFrom(part)
            named.tool_result.name, named.tool_result.tool_call_id = call.name, call.id
            results[call.id] = named
    for call in calls:
        if call.id not in results:
            silent = Part()
            silent.tool_result.CopyFrom(
                ToolResult(tool_call_id=call.id, name=call.name, is_error=True, parts=[_text(NO_RESULT)])
            )
            results[call.id] = silent
    return [*(results[call.id] for call in calls), *rest]


def _call_of(
    result: ToolResult, calls: Sequence[content_pb2.ToolCall], answered: dict[str, Part]
) -> content_pb2.ToolCall | None:
    """The call a result answers: by its id, else the first unanswered one of its name, for results without an id."""
    left = [call for call in calls if call.id not in answered]
    if result.tool_call_id:
        return next((call for call in left if call.id == result.tool_call_id), None)
    return next((call for call in left if not result.name or call.name == result.name), None)


def _as_text(result: ToolResult) -> list[Part]:
    """What a result without its call can still say."""
    said = _text(f"Result of {result.name or 'a tool'}:")
    return [said, *result.parts]


def _text(text: str) -> Part:
    return Part(text=content_pb2.TextPart(text=text))
