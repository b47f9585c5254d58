"""The bound on tokens that needs no vocabulary: a token is at least one byte.

Every tokenizer in use is byte-level or falls back to bytes, so a text never has more tokens than UTF-8 bytes. What a
chat template puts around it is bounded by the constants below. `services/tokens` is tighter, where its vocabulary is.
"""

from typing import Final

REQUEST_OVERHEAD_TOKENS: Final = 256
"""What vendors put around a whole conversation; Harmony's system text and xAI's hidden prompt are the largest seen."""

MESSAGE_OVERHEAD_TOKENS: Final = 32
"""Role markers and separators of one message; the largest template seen adds 16."""

TOOLS_OVERHEAD_TOKENS: Final = 2_048
"""Instructions vendors add once there are tools; Cohere's are the longest seen, about 1,400."""

TOOL_OVERHEAD_TOKENS: Final = 256
"""What is written around one tool's schema."""


def byte_bound(text_bytes: int, *, messages: int = 0, tools: int = 0) -> int:
    """At most how many tokens a prompt has whose texts and schemas are `text_bytes` bytes of UTF-8 in all.

    Pictures, sound and documents are not text: add their own bounds. Pure arithmetic, no allocation.
    """
    if text_bytes < 0 or messages < 0 or tools < 0:
        raise ValueError("counts are not negative")
    bound = text_bytes + REQUEST_OVERHEAD_TOKENS + messages * MESSAGE_OVERHEAD_TOKENS
    if tools:
        bound += TOOLS_OVERHEAD_TOKENS + tools * TOOL_OVERHEAD_TOKENS
    return bound
