"""How long Claude thinks: an effort of ours as a token budget or as the model's own adaptive effort."""

import re
from typing import Any, Final

from services.providers.adapters.wire.openai_dialect import effort_word
from services.providers.domain.profile import ModelProfile, Omissions
from turnpike.common.v1 import content_pb2

Effort = content_pb2.ReasoningEffort
ToolMode = content_pb2.ToolMode

BUDGET_TOKENS_MIN: Final = 1_024
"""The vendor refuses a smaller budget."""

_BUDGET_TOKENS: Final = {
    Effort.REASONING_EFFORT_MINIMAL: BUDGET_TOKENS_MIN,
    Effort.REASONING_EFFORT_LOW: 4_096,
    Effort.REASONING_EFFORT_MEDIUM: 10_240,
    Effort.REASONING_EFFORT_HIGH: 24_576,
    Effort.REASONING_EFFORT_MAX: 49_152,
}
_ANSWER_SHARE: Final = 4
"""A quarter of the cap stays for the answer: the budget is part of the cap, and the cap is what was held."""

_ADAPTIVE: Final = re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-([5-9]|4[-.][6-9])")
"""For models the catalogue says nothing of: from these on, budgets are deprecated or refused."""

_ALWAYS: Final = re.compile(r"claude-(fable|mythos)")
"""These cannot do without: the least is their lowest effort."""


def add_thinking(
    body: dict[str, Any], given: content_pb2.GenerationInput, profile: ModelProfile, omissions: Omissions
) -> None:
    """Adds `thinking` and `output_config.effort` for the wanted effort; nothing if none is wanted."""
    effort = given.reasoning_effort
    if effort == Effort.REASONING_EFFORT_UNSPECIFIED:
        return
    way = profile.hints.get("thinking") or ("adaptive" if _ADAPTIVE.search(profile.model) else "budget")
    if effort == Effort.REASONING_EFFORT_NONE:
        # Before adaptive thinking off was the default; since then models think unless they are told not to.
        if way == "adaptive" and profile.reasoning is not False:
            if _ALWAYS.search(profile.model):
                body.setdefault("output_config", {})["effort"] = "low"
            else:
                body["thinking"] = {"type": "disabled"}
        return
    if profile.reasoning is False or not omissions.takes("reasoning_effort"):
        if profile.reasoning is False:
            omissions.omit("reasoning_effort")
        return
    if _forces_a_tool(given):
        # The vendor refuses thinking beside a forced call; the call is what the application cannot do without.
        omissions.omit("reasoning_effort")
        return
    if way == "adaptive":
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        word = effort_word(effort, profile.reasoning_efforts or ("low", "medium", "high"))
        body.setdefault("output_config", {})["effort"] = word
        return
    room = body["max_tokens"] - max(1, body["max_tokens"] // _ANSWER_SHARE)
    if room < BUDGET_TOKENS_MIN:
        omissions.omit("reasoning_effort")
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": min(_BUDGET_TOKENS[effort], room)}


def _forces_a_tool(given: content_pb2.GenerationInput) -> bool:
    choice = given.tool_choice
    return bool(given.tools) and (bool(choice.tool_name) or choice.mode == ToolMode.TOOL_MODE_REQUIRED)
