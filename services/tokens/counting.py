"""Walks a prompt once and adds up what it costs in tokens, by a tokenizer's profile."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from services.tokens.media import MEDIA_FORMULAS, MediaFormula, Size, audio_seconds, image_size, pdf_pages
from services.tokens.profiles import (
    BYTES_PER_TOKEN_TYPICAL,
    EXACT_BYTES_MAX,
    Overhead,
    TokenizerProfile,
    profile_for,
)
from services.tokens.schema_text import struct_json
from services.tokens.vocabulary import counter
from turnpike.common.v1 import content_pb2

SCHEMAS_KEPT = 1_024
"""Tools are the same in every request of an application: this many schemas' counts are remembered, a few hundred bytes
each beside the schema's own."""

SCHEMA_BYTES_KEPT_MAX = 16 * 1024
"""Larger ones are counted anew, so that what is remembered is at most 16 MiB."""

SIGNATURE_BYTES_PER_TOKEN = 5
"""Encrypted reasoning sent back: base64 of a cipher of text, so about four thirds of four bytes a token."""

TEXT_DOCUMENT_OVERHEAD_TOKENS_MAX = 768
"""What is written around a document that is text; Claude's instructions for quoting from it take about 580."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a prompt or a text."""

    estimate: int
    """Best guess."""
    upper_bound: int
    """What a hold is made for; never below the estimate."""
    method: str
    """How it was counted, such as `bpe:o200k_base`, `scaled:claude` or `bytes`."""


def input_bound(generation_input: content_pb2.GenerationInput, tokenizer: str) -> int:
    """At most how many input tokens the vendor will count for the prompt; `tokenizer` is the catalogue's name."""
    return count_input(generation_input, tokenizer).upper_bound


def count_input(generation_input: content_pb2.GenerationInput, tokenizer: str) -> TokenCount:
    """The prompt's tokens by the named profile. An unknown name is bounded by bytes.

    Takes about 10 µs and 30 ns a byte, up to EXACT_BYTES_MAX bytes of text, and hardly more beyond. Never raises for
    content: what is not understood counts as its bytes.
    """
    profile = profile_for(tokenizer)
    tally = _Tally(profile)
    tally.add(profile.request)
    for message in generation_input.messages:
        tally.add(profile.message)
        if message.name:
            tally.text(message.name)
        tally.parts(message.parts)
    if generation_input.tools:
        tally.add(profile.tools)
        for tool in generation_input.tools:
            tally.tool(tool)
    if generation_input.output_format.WhichOneof("format") == "json_schema":
        tally.output_schema(generation_input.output_format.json_schema)
    return tally.result()


def count_text(text: str, tokenizer: str) -> TokenCount:
    """A text's own tokens without any template: what a model has produced so far, or one text to be embedded."""
    tally = _Tally(profile_for(tokenizer))
    tally.text(text)
    return tally.result()


class _Tally:
    """Sums of one walk."""

    __slots__ = ("_bound", "_count", "_estimate", "_exact_bytes_left", "_formula", "_profile")

    def __init__(self, profile: TokenizerProfile) -> None:
        self._profile = profile
        self._formula: MediaFormula = MEDIA_FORMULAS[profile.media]
        self._count = counter(profile.encoding)
        self._estimate = 0.0
        self._bound = 0
        self._exact_bytes_left = EXACT_BYTES_MAX

    def result(self) -> TokenCount:
        profile = self._profile
        if profile.scale_max == math.inf or self._exact_bytes_left <= 0:
            method = "bytes"
        elif profile.exact:
            method = f"bpe:{profile.encoding}"
        else:
            method = f"scaled:{profile.name}"
        estimate = round(self._estimate)
        return TokenCount(estimate, max(self._bound, estimate), method)

    def add(self, overhead: Overhead) -> None:
        self._estimate += overhead.estimate
        self._bound += overhead.bound

    def both(self, pair: tuple[float, float]) -> None:
        self._estimate += pair[0]
        self._bound += math.ceil(pair[1])

    def text(self, text: str) -> None:
        profile = self._profile
        ascii_only = text.isascii()
        size = len(text) if ascii_only else len(text.encode("utf-8", "replace"))
        if size > self._exact_bytes_left:
            self._exact_bytes_left = 0
            self._estimate += size / BYTES_PER_TOKEN_TYPICAL
            self._bound += size
            return
        self._exact_bytes_left -= size
        tokens = self._count(text)
        self._estimate += tokens * profile.scale
        if profile.exact:
            self._bound += tokens
            return
        scale_max = profile.scale_max if ascii_only else profile.scale_max_other
        self._bound += math.ceil(min(size, tokens * scale_max)) if tokens else 0

    def parts(self, parts: Iterable[content_pb2.Part]) -> None:
        for part in parts:
            kind = part.WhichOneof("kind")
            if kind == "text":
                self.text(part.text.text)
            elif kind == "tool_call":
                call = part.tool_call
                self.add(self._profile.call)
                self.text(call.name)
                self.text(call.arguments_json)
                self.signature(call.signature)
            elif kind == "tool_result":
                self.add(self._profile.result)
                self.parts(part.tool_result.parts)
            elif kind == "reasoning":
                self.text(part.reasoning.text)
                self.signature(part.reasoning.signature)
            elif kind == "image":
                self.both(self._formula.image(_image_size(part.image), part.image.detail))
            elif kind == "audio":
                self.audio(part.audio)
            elif kind == "file":
                self.file(part.file)
            elif kind == "refusal":
                self.text(part.refusal.text)

    def signature(self, signature: bytes) -> None:
        # Twice the likely figure: reasoning in a script of few bytes a token, or padding.
        self._estimate += len(signature) / SIGNATURE_BYTES_PER_TOKEN
        self._bound += 2 * len(signature) // SIGNATURE_BYTES_PER_TOKEN

    def audio(self, audio: content_pb2.MediaPart) -> None:
        estimate, bound = audio_seconds(audio.data) if audio.data else (60.0, 3_600.0)
        per_second = self._formula.audio_second
        self.both((estimate * per_second[0], bound * per_second[1] + 16))

    def file(self, file: content_pb2.MediaPart) -> None:
        if file.filename:
            self.text(file.filename)
        if file.media_type.startswith("text/") or file.media_type in ("application/json", "application/xml"):
            self.text(file.data.decode("utf-8", "replace"))
            self.both((64, TEXT_DOCUMENT_OVERHEAD_TOKENS_MAX))
            return
        page = self._formula.page
        estimate, bound = pdf_pages(file.data) if file.data else (10, 100)
        self.both((estimate * page[0], bound * page[1] + 256))

    def tool(self, tool: content_pb2.ToolDefinition) -> None:
        self.add(self._profile.tool)
        self.text(tool.name)
        if tool.description:
            self.text(tool.description)
        self.schema(tool.parameters_schema.SerializeToString())

    def output_schema(self, wanted: content_pb2.JsonSchemaFormat) -> None:
        self.add(self._profile.output_schema)
        self.schema(wanted.schema.SerializeToString())

    def schema(self, serialised: bytes) -> None:
        profile = self._profile
        if len(serialised) > self._exact_bytes_left:
            # The wire form of a schema is never shorter than half of its JSON.
            self.both((len(serialised) / BYTES_PER_TOKEN_TYPICAL, 2 * len(serialised)))
            self._exact_bytes_left = 0
            return
        self._exact_bytes_left -= len(serialised)
        tokens, size = _schema_tokens(serialised, profile.encoding)
        self._estimate += tokens * profile.schema_scale
        self._bound += math.ceil(min(2 * size, tokens * profile.schema_scale_max)) if tokens else 0


def _image_size(image: content_pb2.MediaPart) -> Size | None:
    return image_size(image.data) if image.data else None


def _schema_tokens(serialised: bytes, encoding: str) -> tuple[int, int]:
    if len(serialised) > SCHEMA_BYTES_KEPT_MAX:
        return _count_schema(serialised, encoding)
    return _kept_schema_tokens(serialised, encoding)


def _count_schema(serialised: bytes, encoding: str) -> tuple[int, int]:
    schema = content_pb2.JsonSchemaFormat().schema
    schema.ParseFromString(serialised)
    text = struct_json(schema)
    return counter(encoding)(text), len(text.encode("utf-8", "replace"))


_kept_schema_tokens = lru_cache(maxsize=SCHEMAS_KEPT)(_count_schema)
