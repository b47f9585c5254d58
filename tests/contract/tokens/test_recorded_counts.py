"""Holds our counts against what vendors really billed for recorded prompts."""

import statistics
from collections.abc import Iterator
from typing import Any

import pytest

from services.tokens import count_input
from services.tokens.families import guess_tokenizer
from tests.support import recordings
from tests.support.recorded_requests import ReadRequest, families, read_request

pytestmark = pytest.mark.skipif(not recordings.available(), reason=recordings.WHY_MISSING)


def _billed(usage: Any) -> int | None:
    """A vendor's own figure for the prompt, cached parts included."""
    if not isinstance(usage, dict):
        return None
    if "promptTokenCount" in usage:
        return int(usage["promptTokenCount"])
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return sum(usage.get(name) or 0 for name in names)
    if "inputTokens" in usage:
        names = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        return sum(usage.get(name) or 0 for name in names)
    if isinstance(usage.get("tokens"), dict):
        return int(usage["tokens"].get("input_tokens") or 0)
    for name in ("prompt_tokens", "input_tokens", "prompt_eval_count"):
        if usage.get(name):
            return int(usage[name])
    return None


def _recorded() -> Iterator[tuple[recordings.Recording, ReadRequest, int]]:
    for recording in recordings.recordings(*families()):
        if not 200 <= recording.status < 300 or not isinstance(recording.request_body, dict):
            continue
        figures: list[int] = []
        for event in recording.events:
            holders = (event, *(event.get(name) for name in ("message", "response", "delta")))
            for holder in holders:
                if isinstance(holder, dict):
                    figures += filter(
                        None, map(_billed, (holder.get("usage"), holder.get("usageMetadata"), holder))
                    )
        if figures:
            yield recording, read_request(recording.family, recording.request_body), max(figures)


@pytest.fixture(scope="module")
def measured() -> list[tuple[recordings.Recording, ReadRequest, int]]:
    return list(_recorded())


def test_bounds_miss_at_most_one_in_a_hundred_and_no_plain_text(
    measured: list[tuple[recordings.Recording, ReadRequest, int]],
) -> None:
    understood = missed = 0
    plain_misses = []
    for recording, read, billed in measured:
        # Server-side tools, containers and files by reference bring text that nobody can count beforehand.
        if read.left_out:
            continue
        understood += 1
        bound = count_input(read.input, guess_tokenizer(recording.model)).upper_bound
        if bound < billed:
            missed += 1
            plain = not read.input.tools and all(
                part.WhichOneof("kind") == "text" for message in read.input.messages for part in message.parts
            )
            if plain:
                plain_misses.append((recording.file, billed, bound))
    print(f"prompts with a bound: {understood} of {len(measured)}, missed: {missed}")
    assert understood > 400
    assert not plain_misses
    assert missed <= understood // 100


def test_estimates_are_within_fifteen_percent_at_the_median(
    measured: list[tuple[recordings.Recording, ReadRequest, int]],
) -> None:
    errors = [
        abs(count_input(read.input, guess_tokenizer(recording.model)).estimate - billed) / billed
        for recording, read, billed in measured
        if not read.left_out
    ]
    print(f"median error of {len(errors)} estimates: {statistics.median(errors):.1%}")
    assert statistics.median(errors) <= 0.15
