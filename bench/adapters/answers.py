"""What the bench's server says, in each vendor's wire format."""

import json
from typing import Any

TEXT = "The quick brown fox jumps over the lazy dog. " * 20
WORD = " token"


def _sse(*events: Any, names: bool = False) -> list[bytes]:
    made = []
    for event in events:
        name = f"event: {event['type']}\n" if names else ""
        made.append(f"{name}data: {json.dumps(event)}\n\n".encode())
    return made


def openai_chat(pieces: int) -> tuple[bytes, list[bytes]]:
    usage = {"prompt_tokens": 20, "completion_tokens": pieces, "total_tokens": 20 + pieces}
    around = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4-mini"}
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    whole = {**around, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    around = {**around, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**around, "choices": [choice], "usage": None}

    stream = _sse(
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": WORD}) for _ in range(pieces)),
        chunk({}, "stop"),
        {**around, "choices": [], "usage": usage},
    )
    return json.dumps(whole).encode(), [*stream, b"data: [DONE]\n\n"]


def openai_responses(pieces: int) -> tuple[bytes, list[bytes]]:
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": pieces,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 20 + pieces,
    }
    content = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }
    whole = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5.4-mini",
        "output": [item], "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        *(
            {"type": "response.output_text.delta", **place, "delta": WORD, "logprobs": []}
            for _ in range(pieces)
        ),
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return json.dumps(whole).encode(), _sse(*numbered, names=True)


def anthropic_messages(pieces: int) -> tuple[bytes, list[bytes]]:
    usage: dict[str, Any] = {"input_tokens": 20, "output_tokens": pieces}
    whole: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    start: dict[str, Any] = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 20, "output_tokens": 1},
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORD}}
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(delta for _ in range(pieces)),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    return json.dumps(whole).encode(), _sse(*events, names=True)


def gemini(pieces: int) -> tuple[bytes, list[bytes]]:
    usage = {"promptTokenCount": 20, "candidatesTokenCount": pieces, "totalTokenCount": 20 + pieces}

    def said(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}

    stream = _sse(*(said(WORD) for _ in range(pieces)), said("", finishReason="STOP"))
    return json.dumps(said(TEXT, finishReason="STOP")).encode(), [e.replace(b"\n", b"\r\n") for e in stream]


ANSWERS = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic_messages": anthropic_messages,
    "gemini": gemini,
    "mistral": openai_chat,
}
