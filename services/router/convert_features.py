"""Reads from a request what routing needs to know of it, in one walk, and keeps none of its text.

Large texts are measured, not read: the walk looks at lengths, and only a bounded head and tail of the newest turn goes
on to the classifier.
"""

import hashlib
from functools import cache
from typing import Final

from services.kernel.tokens import byte_bound
from services.router.convert_language import language_of
from services.router.domain.catalogue import Capability, ModelKind
from services.router.domain.features import Features
from services.router.domain.values import value
from services.tokens.schema_text import struct_json
from turnpike.common.v1 import content_pb2 as content

BYTES_PER_TOKEN: Final = 4.0
"""English prose by today's vocabularies; good enough for an estimate, and no bound."""

MEDIA_TOKENS_BOUND: Final = 20_000
"""What one picture, sound or document may at most count in the decision. Where there is media the exact bound of
services/tokens replaces it before money is held."""

SAMPLE_HEAD_CHARS: Final = 2_000
SAMPLE_TAIL_CHARS: Final = 1_000
"""What of the newest turn the classifier may see: what a task is, is said first or last."""

_CODE_MARKS: Final = (
    "def ", "class ", "function ", "#include", "import ", "=> {", "();", "){", ");\n", "</", "SELECT ", "public ",
)  # fmt: skip
"""What code has and prose hardly; two of them make it code. Plain searches: a pattern would cost ten times as much."""

CODE_MARKS_MIN: Final = 2

_STREAMING: Final = int(Capability.STREAMING)
_TOOLS: Final = int(Capability.TOOLS)
_SYSTEM_MESSAGES: Final = int(Capability.SYSTEM_MESSAGES)
"""As integers, which add up ten times as quickly."""

_EFFORTS: Final = {
    content.REASONING_EFFORT_NONE: "none",
    content.REASONING_EFFORT_MINIMAL: "minimal",
    content.REASONING_EFFORT_LOW: "low",
    content.REASONING_EFFORT_MEDIUM: "medium",
    content.REASONING_EFFORT_HIGH: "high",
    content.REASONING_EFFORT_MAX: "max",
}
_SAMPLING: Final = (
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)


@value(frozen=True, slots=True)
class Sample:
    """The bounded text that a classifier may look at; it lives as long as the decision and is recorded nowhere."""

    system: str
    newest: str
    """Of the newest turn of the user."""

    def language(self) -> str:
        """BCP 47 language of the newest turn; empty: unknown. Takes longer than all features together."""
        return language_of(self.newest)


def features_from_pb(given: content.GenerationInput, *, streamed: bool) -> tuple[Features, Sample]:
    """The features of a conversation, and the sample of its text."""
    walk = _Walk()
    messages, tools = given.messages, given.tools
    for message in messages:
        walk.message(message)
    turns, offered, tools_bytes = len(messages), len(tools), 0
    for tool in tools:
        tools_bytes += len(tool.name) + len(tool.description) + len(struct_json(tool.parameters_schema))
        if tool.HasField("cache"):
            walk.cached(tool.cache)
    needs = walk.needs
    if streamed:
        needs |= _STREAMING
    if offered:
        needs |= _TOOLS
        if given.HasField("tool_choice") and _chooses(given.tool_choice):
            needs |= int(Capability.TOOL_CHOICE)
    shape = None
    if given.HasField("output_format"):
        shape = given.output_format.WhichOneof("format")
        if shape == "json_schema":
            needs |= int(Capability.JSON_SCHEMA)
            tools_bytes += len(struct_json(given.output_format.json_schema.schema))
        elif shape == "json_object":
            needs |= int(Capability.JSON_OBJECT)
    choices = given.n if given.HasField("n") else 1
    if choices > 1:
        needs |= int(Capability.MULTIPLE_CHOICES)
    if given.HasField("top_logprobs"):
        needs |= int(Capability.LOGPROBS)
    text_bytes = walk.text_bytes + tools_bytes
    media = walk.images + walk.audios + walk.files
    bound = byte_bound(text_bytes, messages=turns, tools=offered)
    newest = walk.newest
    system = "".join(walk.system)
    sample = Sample(system[:SAMPLE_HEAD_CHARS], _bounded(newest))
    features = Features(
        input_tokens_bound=bound + media * MEDIA_TOKENS_BOUND,
        input_tokens_estimate=int(text_bytes / BYTES_PER_TOKEN) + 8 * turns + 800 * media,
        text_bytes=text_bytes,
        images=walk.images,
        audios=walk.audios,
        files=walk.files,
        tools=offered,
        turns=turns,
        json_schema=shape == "json_schema",
        code=_has_code(sample.newest),
        system_prompt_hash=hashlib.sha256(system.encode()).hexdigest()[:16] if system else "",
        needs=_capabilities(needs),
        kind=ModelKind.CHAT,
        parameters=_parameters(given),
        drops_unsupported=given.unsupported == content.UNSUPPORTED_POLICY_DROP,
        reasoning_effort=_EFFORTS.get(given.reasoning_effort, ""),
        choices=choices,
        output_cap_asked=given.max_output_tokens if given.HasField("max_output_tokens") else None,
        vendor_files_of="",
        cache_markers=walk.cache_markers,
        cache_markers_long=walk.cache_markers_long,
    )
    return features, sample


class _Walk:
    """Sums over the parts of a conversation."""

    __slots__ = (
        "audios", "cache_markers", "cache_markers_long", "files", "images", "needs", "newest", "system", "text_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.text_bytes = 0
        self.images = self.audios = self.files = 0
        self.needs = 0
        self.newest = ""
        self.system: list[str] = []
        self.cache_markers = self.cache_markers_long = False

    def message(self, message: content.Message) -> None:
        role = message.role
        texts: list[str] = []
        self.parts(message.parts, texts)
        if message.name:
            self.text_bytes += len(message.name.encode())
        if role == content.ROLE_SYSTEM:
            self.needs |= _SYSTEM_MESSAGES
            self.system.append("\n".join(texts))
        elif role == content.ROLE_USER and texts:
            self.newest = texts[0] if len(texts) == 1 else "\n".join(texts)

    def parts(self, parts: "object", texts: list[str]) -> None:
        for part in parts:  # type: ignore[attr-defined]  # a repeated field of Part
            kind = part.WhichOneof("kind")
            if kind == "text":
                text = part.text.text
                texts.append(text)
                self.text_bytes += len(text) if text.isascii() else len(text.encode())
            elif kind == "image":
                self.images += 1
                self.needs |= int(Capability.IMAGE_INPUT)
            elif kind == "audio":
                self.audios += 1
                self.needs |= int(Capability.AUDIO_INPUT)
            elif kind == "file":
                self.files += 1
                self.needs |= int(Capability.FILE_INPUT)
            elif kind == "tool_call":
                self.needs |= _TOOLS
                self.text_bytes += len(part.tool_call.name) + len(part.tool_call.arguments_json.encode())
            elif kind == "tool_result":
                self.needs |= _TOOLS
                self.parts(part.tool_result.parts, [])
            elif kind == "reasoning":
                self.text_bytes += len(part.reasoning.text.encode()) + len(part.reasoning.signature)
            elif kind == "refusal":
                self.text_bytes += len(part.refusal.text.encode())
            if part.HasField("cache"):
                self.cached(part.cache)

    def cached(self, lifetime: int) -> None:
        self.cache_markers = True
        if lifetime == content.CACHE_LIFETIME_LONG:
            self.cache_markers_long = True


@cache
def _capabilities(needs: int) -> Capability:
    """The flag of these bits; an enum looks it up in Python. Kinds of requests are as few as what they can need."""
    return Capability(needs)


def _has_code(text: str) -> bool:
    if "```" in text:
        return True
    return sum(map(text.__contains__, _CODE_MARKS)) >= CODE_MARKS_MIN


def _bounded(text: str) -> str:
    if len(text) <= SAMPLE_HEAD_CHARS + SAMPLE_TAIL_CHARS:
        return text
    return f"{text[:SAMPLE_HEAD_CHARS]}\n{text[-SAMPLE_TAIL_CHARS:]}"


def _parameters(given: content.GenerationInput) -> frozenset[str]:
    found = []
    if given.HasField("sampling"):
        found = [name for name in _SAMPLING if given.sampling.HasField(name)]
    if given.stop:
        found.append("stop")
    if given.HasField("n"):
        found.append("n")
    if given.HasField("top_logprobs"):
        found.append("top_logprobs")
    if given.reasoning_effort:
        found.append("reasoning_effort")
    return frozenset(found)


def _chooses(choice: content.ToolChoice) -> bool:
    return choice.WhichOneof("choice") == "tool_name" or choice.mode in (
        content.TOOL_MODE_REQUIRED,
        content.TOOL_MODE_NONE,
    )
