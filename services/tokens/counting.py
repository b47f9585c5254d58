"""Counts of a prompt by the profile of a tokenizer: what was measured, times scales, plus what templates add."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.tokens.measure import Measure, measure_input, measure_text
from services.tokens.media import MEDIA_FORMULAS
from services.tokens.profiles import BYTES_PER_TOKEN_TYPICAL, Overhead, TokenizerProfile, profile_for
from turnpike.common.v1 import content_pb2

SIGNATURE_BYTES_PER_TOKEN: Final = 5
"""Encrypted reasoning sent back: base64 of a cipher of text, so about four thirds of four bytes a token."""

TEXT_DOCUMENT_OVERHEAD_TOKENS_MAX: Final = 768
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


def input_bounds(generation_input: content_pb2.GenerationInput, tokenizers: Sequence[str]) -> tuple[int, ...]:
    """The bounds for several tokenizers, in their order; the prompt is walked once per vocabulary."""
    measured: dict[str, Measure] = {}
    bounds = []
    for tokenizer in tokenizers:
        profile = profile_for(tokenizer)
        measure = measured.get(profile.encoding)
        if measure is None:
            measure = measured[profile.encoding] = measure_input(generation_input, profile.encoding)
        bounds.append(_count(measure, profile, of_prompt=True).upper_bound)
    return tuple(bounds)


def count_input(generation_input: content_pb2.GenerationInput, tokenizer: str) -> TokenCount:
    """The prompt's tokens by the named profile. An unknown name is bounded by bytes.

    Takes about 10 µs and 30 ns a byte, up to a mebibyte of text, and hardly more beyond. Never raises for content.
    """
    profile = profile_for(tokenizer)
    return _count(measure_input(generation_input, profile.encoding), profile, of_prompt=True)


def count_text(text: str, tokenizer: str) -> TokenCount:
    """A text's own tokens without any template: what a model has produced so far, or one text to be embedded."""
    profile = profile_for(tokenizer)
    return _count(measure_text(text, profile.encoding), profile, of_prompt=False)


def _count(measure: Measure, profile: TokenizerProfile, *, of_prompt: bool) -> TokenCount:
    estimate, bound = _texts(measure, profile)
    for schema in measure.schemas:
        estimate += schema.tokens * profile.schema_scale
        bound += math.ceil(min(2 * schema.size, schema.tokens * profile.schema_scale_max))
    estimate += measure.uncounted_bytes / BYTES_PER_TOKEN_TYPICAL
    bound += measure.uncounted_bytes
    if measure.signature_bytes:
        estimate += measure.signature_bytes / SIGNATURE_BYTES_PER_TOKEN
        # Twice the likely figure: reasoning in a script of few bytes a token, or padding.
        bound += 2 * measure.signature_bytes // SIGNATURE_BYTES_PER_TOKEN
    if of_prompt:
        request, message = profile.request, profile.message
        estimate += request.estimate + message.estimate * measure.messages
        bound += request.bound + message.bound * measure.messages
        if measure.tools or measure.calls or measure.results or measure.output_schema:
            for overhead, times in _overheads(measure, profile):
                estimate += overhead.estimate * times
                bound += overhead.bound * times
    if measure.images or measure.audio_s or measure.pages or measure.text_documents:
        more, more_at_most = _media(measure, profile)
        estimate += more
        bound += more_at_most
    guess = round(estimate)
    return TokenCount(guess, max(bound, guess), _method(measure, profile))


def _texts(measure: Measure, profile: TokenizerProfile) -> tuple[float, int]:
    tokens = bound = 0
    for counted, size, ascii_only in measure.texts:
        tokens += counted
        most = math.ceil(counted * (profile.scale_max if ascii_only else profile.scale_max_other))
        bound += most if most < size else size
    return tokens * profile.scale, tokens if profile.exact else bound


def _overheads(measure: Measure, profile: TokenizerProfile) -> tuple[tuple[Overhead, int], ...]:
    return (
        (profile.tools, 1 if measure.tools else 0),
        (profile.tool, measure.tools),
        (profile.call, measure.calls),
        (profile.result, measure.results),
        (profile.output_schema, 1 if measure.output_schema else 0),
    )


def _media(measure: Measure, profile: TokenizerProfile) -> tuple[float, int]:
    formula = MEDIA_FORMULAS[profile.media]
    estimate, bound = 0.0, 0
    for image in measure.images:
        likely, most = formula.image(image.size, image.detail)
        estimate += likely
        bound += most
    for seconds, seconds_max in measure.audio_s:
        estimate += seconds * formula.audio_second[0]
        bound += math.ceil(seconds_max * formula.audio_second[1]) + 16
    for pages, pages_max in measure.pages:
        estimate += pages * formula.page[0]
        bound += pages_max * formula.page[1] + 256
    estimate += 64 * measure.text_documents
    bound += TEXT_DOCUMENT_OVERHEAD_TOKENS_MAX * measure.text_documents
    return estimate, bound


def _method(measure: Measure, profile: TokenizerProfile) -> str:
    if not profile.encoding or measure.uncounted_bytes:
        return "bytes"
    return f"bpe:{profile.encoding}" if profile.exact else f"scaled:{profile.name}"
