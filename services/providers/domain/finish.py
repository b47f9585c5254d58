"""Why a model stopped: every vendor's word for it, in one table."""

from typing import Final

from turnpike.common.v1 import content_pb2

FinishReason = content_pb2.FinishReason

_STOP = content_pb2.FINISH_REASON_STOP
_LENGTH = FinishReason.FINISH_REASON_LENGTH
_TOOLS = FinishReason.FINISH_REASON_TOOL_CALLS
_FILTER = FinishReason.FINISH_REASON_CONTENT_FILTER
_ERROR = FinishReason.FINISH_REASON_ERROR
_OTHER = FinishReason.FINISH_REASON_OTHER

# One table for all: no two vendors mean different things by one spelling.
FINISH_REASONS: Final[dict[str, FinishReason.ValueType]] = {
    # OpenAI chat completions and those who speak it
    "stop": _STOP,
    "eos": _STOP,  # Together
    "endoftext": _STOP,  # AI21
    "length": _LENGTH,
    "model_length": _LENGTH,  # Mistral
    "tool_calls": _TOOLS,
    "function_call": _TOOLS,
    "content_filter": _FILTER,
    "error": _ERROR,  # Mistral, OpenRouter
    "abort": _ERROR,  # vLLM
    "insufficient_system_resource": _ERROR,  # DeepSeek
    "sensitive": _FILTER,  # Z.ai
    "network_error": _ERROR,  # Z.ai
    # OpenAI Responses: status and incomplete_details.reason
    "completed": _STOP,
    "max_output_tokens": _LENGTH,
    "failed": _ERROR,
    # Anthropic, Bedrock
    "end_turn": _STOP,
    "stop_sequence": _STOP,
    "max_tokens": _LENGTH,
    "model_context_window_exceeded": _LENGTH,
    "tool_use": _TOOLS,
    "pause_turn": FinishReason.FINISH_REASON_PAUSE,
    "refusal": FinishReason.FINISH_REASON_REFUSAL,
    "guardrail_intervened": _FILTER,
    "content_filtered": _FILTER,
    "malformed_model_output": _ERROR,
    "malformed_tool_use": _ERROR,
    # Gemini, Vertex
    "STOP": _STOP,
    "MAX_TOKENS": _LENGTH,
    "SAFETY": _FILTER,
    "RECITATION": _FILTER,
    "BLOCKLIST": _FILTER,
    "PROHIBITED_CONTENT": _FILTER,
    "SPII": _FILTER,
    "MODEL_ARMOR": _FILTER,
    "LANGUAGE": _FILTER,
    "IMAGE_SAFETY": _FILTER,
    "IMAGE_PROHIBITED_CONTENT": _FILTER,
    "IMAGE_RECITATION": _FILTER,
    "IMAGE_OTHER": _FILTER,
    "MALFORMED_FUNCTION_CALL": _ERROR,
    "UNEXPECTED_TOOL_CALL": _ERROR,
    "TOO_MANY_TOOL_CALLS": _ERROR,
    "MISSING_THOUGHT_SIGNATURE": _ERROR,
    "MALFORMED_RESPONSE": _ERROR,
    # Cohere
    "COMPLETE": _STOP,
    "STOP_SEQUENCE": _STOP,
    "TOOL_CALL": _TOOLS,
    "ERROR": _ERROR,
    "TIMEOUT": _ERROR,
}


def finish_reason(
    raw: str | None, *, has_tool_calls: bool = False, has_refusal: bool = False
) -> FinishReason.ValueType:
    """The vendor's word as one of ours; a word of tomorrow is OTHER, none at all is UNSPECIFIED.

    Vendors that end a turn of tool calls with their plain stop (Gemini, Ollama), and OpenAI's refusals, are told
    apart by what the answer holds: pass what it held.
    """
    if not raw:
        return content_pb2.FINISH_REASON_UNSPECIFIED
    reason = FINISH_REASONS.get(raw, _OTHER)
    if reason == _STOP:
        if has_refusal:
            return content_pb2.FINISH_REASON_REFUSAL
        if has_tool_calls:
            return _TOOLS
    return reason
