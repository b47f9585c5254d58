"""What is known of each tokenizer family, as data: how its counts relate to a vocabulary we carry, and what is added.

Vendors write a chat template, and often a hidden prompt, around what they are given. The figures are fitted to real
traffic: the first of each pair is the estimate, the second the bound, with a margin because templates change unseen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BYTES_PER_TOKEN_TYPICAL: Final = 4
"""For the estimate of what is not encoded."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Tokens that are added: a best guess and an upper bound."""

    estimate: float = 0.0
    bound: int = 0


@dataclass(frozen=True, slots=True)
class TokenizerProfile:
    """One family of tokenizers, with the template its vendors use."""

    name: str
    encoding: str
    """The vocabulary that is counted with. Empty: none, bytes stand in for tokens."""
    exact: bool = False
    """True if the family's own vocabulary is the one counted with: its texts are counted, not bounded."""
    scale: float = 1.0
    """The family's tokens per token of `encoding`, on average."""
    scale_max: float = 1.0
    """The same at most, for ASCII text."""
    scale_max_other: float = 1.0
    """The same at most, for text with other characters; their bytes bound it as well."""
    schema_scale: float = 1.0
    """Tokens a schema's JSON becomes, per token of it: some vendors rewrite it more briefly, some at length."""
    schema_scale_max: float = 1.5
    request: Overhead = Overhead(3, 16)
    message: Overhead = Overhead(4, 8)
    tools: Overhead = Overhead(0, 64)
    """Once, if there are tools."""
    tool: Overhead = Overhead(8, 32)
    call: Overhead = Overhead(10, 48)
    """For each tool call in the conversation."""
    result: Overhead = Overhead(5, 32)
    output_schema: Overhead = Overhead(10, 64)
    """If the answer must follow a schema."""
    media: str = "unknown"


def _openai(name: str, media: str) -> TokenizerProfile:
    return TokenizerProfile(
        name,
        "o200k_base",
        exact=True,
        schema_scale=0.75,
        schema_scale_max=1.3,
        request=Overhead(3, 16),
        message=Overhead(4, 7),
        tools=Overhead(6, 128),
        tool=Overhead(3, 24),
        call=Overhead(12, 40),
        result=Overhead(4, 16),
        output_schema=Overhead(6, 48),
        media=media,
    )


_PROFILES: Final[tuple[TokenizerProfile, ...]] = (
    _openai("o200k", "openai_tiles"),  # gpt-4o, gpt-4.1, o1, o3
    _openai("o200k_mini_tiles", "openai_tiles_mini"),  # gpt-4o-mini charges pictures at 33 times the price
    _openai("o200k_mini", "openai_patches_mini"),  # gpt-4.1-mini, gpt-5-mini, o4-mini
    _openai("o200k_nano", "openai_patches_nano"),  # gpt-4.1-nano, gpt-5-nano
    _openai("o200k_large", "openai_patches_large"),  # gpt-5.2 and later
    TokenizerProfile(
        "cl100k",
        "cl100k_base",
        exact=True,
        schema_scale=0.8,
        schema_scale_max=1.3,
        message=Overhead(4, 8),
        tools=Overhead(6, 96),
        media="openai_tiles",
    ),
    TokenizerProfile(
        "gpt_oss",  # Harmony: a system text with date and effort goes first
        "o200k_base",
        exact=True,
        schema_scale=0.9,
        request=Overhead(63, 110),
        message=Overhead(6, 12),
        tools=Overhead(24, 64),
        call=Overhead(14, 48),
    ),
    TokenizerProfile(
        "claude",
        "o200k_base",
        scale=1.14,
        scale_max=1.7,
        scale_max_other=3.5,
        schema_scale=1.15,
        schema_scale_max=2.0,
        request=Overhead(4, 64),
        message=Overhead(4, 10),
        tools=Overhead(440, 720),
        tool=Overhead(20, 80),
        call=Overhead(45, 110),
        result=Overhead(10, 40),
        output_schema=Overhead(115, 260),
        media="claude",
    ),
    TokenizerProfile(
        "claude_2026",  # Opus 4.7, Sonnet 5 and later: the vendor says up to 1.35 times the tokens
        "o200k_base",
        scale=1.45,
        scale_max=2.3,
        scale_max_other=4.5,
        schema_scale=1.5,
        schema_scale_max=2.7,
        request=Overhead(6, 96),
        message=Overhead(4, 12),
        tools=Overhead(600, 1_100),
        tool=Overhead(25, 110),
        call=Overhead(60, 150),
        result=Overhead(14, 50),
        output_schema=Overhead(150, 350),
        media="claude_large",
    ),
    TokenizerProfile(
        "gemini",
        "o200k_base",
        scale=1.04,
        scale_max=1.6,
        scale_max_other=2.5,
        schema_scale=0.75,
        schema_scale_max=2.6,
        request=Overhead(0, 16),
        message=Overhead(1, 8),
        tools=Overhead(0, 48),
        tool=Overhead(2, 40),
        call=Overhead(22, 110),
        result=Overhead(10, 60),
        output_schema=Overhead(0, 48),
        media="gemini",
    ),
    TokenizerProfile(
        "mistral",
        "o200k_base",
        scale=1.06,
        scale_max=1.7,
        scale_max_other=2.5,
        schema_scale=1.05,
        request=Overhead(3, 40),
        message=Overhead(4, 10),
        tools=Overhead(20, 64),
        tool=Overhead(12, 48),
        call=Overhead(12, 48),
        output_schema=Overhead(0, 64),
    ),
    TokenizerProfile(
        "llama3",
        "o200k_base",
        scale=1.05,
        scale_max=1.7,
        scale_max_other=3.0,
        schema_scale=1.3,
        schema_scale_max=2.2,
        request=Overhead(27, 64),
        message=Overhead(5, 12),
        tools=Overhead(120, 400),
        tool=Overhead(40, 120),
        call=Overhead(30, 80),
    ),
    TokenizerProfile(
        "llama4",  # a long tool prompt of its own
        "o200k_base",
        scale=1.05,
        scale_max=1.7,
        scale_max_other=3.0,
        schema_scale=1.3,
        schema_scale_max=2.2,
        request=Overhead(8, 64),
        message=Overhead(5, 12),
        tools=Overhead(620, 900),
        tool=Overhead(40, 120),
        call=Overhead(30, 80),
    ),
    TokenizerProfile(
        "qwen",
        "o200k_base",
        scale=1.06,
        scale_max=1.7,
        scale_max_other=2.5,
        schema_scale=1.0,
        schema_scale_max=2.2,
        request=Overhead(4, 40),
        message=Overhead(5, 12),
        tools=Overhead(80, 240),
        tool=Overhead(25, 120),
        call=Overhead(28, 96),
        output_schema=Overhead(60, 200),
    ),
    TokenizerProfile(
        "deepseek",
        "o200k_base",
        scale=1.06,
        scale_max=1.7,
        scale_max_other=2.5,
        schema_scale=1.05,
        schema_scale_max=1.8,
        request=Overhead(3, 48),
        message=Overhead(2, 10),
        tools=Overhead(205, 320),
        tool=Overhead(18, 60),
        call=Overhead(50, 96),
        result=Overhead(4, 32),
    ),
    TokenizerProfile(
        "glm",
        "o200k_base",
        scale=1.05,
        scale_max=1.7,
        scale_max_other=2.5,
        schema_scale=1.0,
        request=Overhead(2, 32),
        message=Overhead(3, 10),
        tools=Overhead(100, 200),
        tool=Overhead(18, 60),
        call=Overhead(22, 72),
        output_schema=Overhead(0, 64),
    ),
    TokenizerProfile(
        "kimi",
        "o200k_base",
        scale=1.05,
        scale_max=1.7,
        scale_max_other=2.5,
        schema_scale=1.0,
        schema_scale_max=1.8,
        request=Overhead(3, 48),
        message=Overhead(5, 12),
        tools=Overhead(30, 120),
        tool=Overhead(22, 72),
        call=Overhead(20, 72),
    ),
    TokenizerProfile(
        "grok",  # the vendor adds prompts of its own, most of all to coding models and once there are tools
        "o200k_base",
        scale=1.03,
        scale_max=1.7,
        scale_max_other=2.5,
        schema_scale=1.3,
        schema_scale_max=2.2,
        request=Overhead(6, 260),
        message=Overhead(5, 24),
        tools=Overhead(180, 400),
        tool=Overhead(35, 110),
        call=Overhead(28, 160),
        result=Overhead(10, 60),
    ),
    TokenizerProfile(
        "nova",
        "o200k_base",
        scale=1.38,
        scale_max=2.2,
        scale_max_other=4.0,
        schema_scale=1.1,
        schema_scale_max=2.4,
        request=Overhead(2, 40),
        message=Overhead(3, 12),
        tools=Overhead(390, 1_000),
        tool=Overhead(10, 100),
        call=Overhead(28, 80),
    ),
    TokenizerProfile(
        "titan",
        "o200k_base",
        scale=1.3,
        scale_max=2.2,
        scale_max_other=4.0,
        request=Overhead(2, 40),
        message=Overhead(1, 12),
    ),
    TokenizerProfile(
        "command",  # long instructions of the vendor's for tools and for schemas
        "o200k_base",
        scale=1.1,
        scale_max=1.9,
        scale_max_other=3.5,
        schema_scale=1.25,
        schema_scale_max=2.4,
        request=Overhead(60, 1_200),
        message=Overhead(5, 24),
        tools=Overhead(1_320, 1_900),
        tool=Overhead(10, 90),
        call=Overhead(35, 96),
        output_schema=Overhead(520, 800),
    ),
    TokenizerProfile(
        "gemma",
        "o200k_base",
        scale=1.04,
        scale_max=1.7,
        scale_max_other=2.5,
        request=Overhead(4, 24),
        message=Overhead(5, 12),
        tools=Overhead(60, 240),
    ),
    TokenizerProfile(
        "sonar",  # bills the conversation's own text; what it searches is priced apart
        "o200k_base",
        scale=1.0,
        scale_max=1.7,
        scale_max_other=2.5,
        request=Overhead(0, 16),
        message=Overhead(0, 8),
        schema_scale=0.0,
        output_schema=Overhead(0, 64),
    ),
)

UNKNOWN: Final = TokenizerProfile(
    "bytes",
    "",
    scale=0.3,
    scale_max=1.0,
    scale_max_other=1.0,
    schema_scale=0.3,
    schema_scale_max=1.0,
    request=Overhead(20, 256),
    message=Overhead(6, 32),
    tools=Overhead(200, 2_048),
    tool=Overhead(30, 256),
    call=Overhead(30, 256),
    result=Overhead(10, 128),
    output_schema=Overhead(60, 1_024),
)
"""For a tokenizer nobody has told us about: bytes bound its tokens."""

_BY_NAME: Final[Mapping[str, TokenizerProfile]] = {profile.name: profile for profile in (*_PROFILES, UNKNOWN)}


def profile_for(tokenizer: str) -> TokenizerProfile:
    """The profile a model's catalogue entry names; UNKNOWN, whose bound is the bytes, for a name not known here."""
    return _BY_NAME.get(tokenizer, UNKNOWN)


def profile_names() -> tuple[str, ...]:
    """The names a catalogue may use."""
    return tuple(_BY_NAME)
