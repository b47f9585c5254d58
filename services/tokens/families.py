"""Guesses a model's tokenizer from its name, for models that no catalogue entry describes."""

import re
from typing import Final

# The first that matches wins; vendors' prefixes and versions surround these words in every spelling.
_FAMILIES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), tokenizer)
    for pattern, tokenizer in (
        (r"gpt-oss", "gpt_oss"),
        (r"claude-(fable|mythos)|claude-(opus|sonnet|haiku)-([5-9]|4[-.][7-9])(\b|-|$)", "claude_2026"),
        (r"claude", "claude"),
        (r"gpt-3\.5|gpt-35|gpt-4($|-turbo|-0|-1106|-vision|-32k)|text-embedding-(3|ada)", "cl100k"),
        (r"gpt-4o-mini", "o200k_mini_tiles"),
        (r"(gpt-4\.1|gpt-5)-nano", "o200k_nano"),
        (r"(gpt-4\.1|gpt-5)-mini|o4-mini", "o200k_mini"),
        (r"gpt-5\.|gpt-[6-9]", "o200k_large"),
        (r"gpt-|chatgpt|codex|(^|/)o[1-9]($|-)|computer-use", "o200k"),
        (r"gemini|learnlm", "gemini"),
        (r"gemma", "gemma"),
        (r"mi[sx]tral|magistral|codestral|devstral|pixtral|voxtral|ministral", "mistral"),
        (r"llama-?4|llama4", "llama4"),
        # Distilled models speak with the tokenizer of what they were distilled into.
        (r"llama", "llama3"),
        (r"qwen|qwq", "qwen"),
        (r"deepseek", "deepseek"),
        (r"glm", "glm"),
        (r"kimi|moonshot", "kimi"),
        (r"grok", "grok"),
        (r"nova", "nova"),
        (r"titan", "titan"),
        (r"command|cohere|c4ai|aya", "command"),
        (r"sonar", "sonar"),
    )
)


def guess_tokenizer(model: str) -> str:
    """The likeliest tokenizer of a model of this name; `bytes`, which always bounds, if nothing is recognised."""
    name = model.lower()
    for pattern, tokenizer in _FAMILIES:
        if pattern.search(name):
            return tokenizer
    return "bytes"
