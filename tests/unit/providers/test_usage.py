"""Usage in one meaning, and what a failure costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.domain.charge import Progress, settle
from services.providers.domain.failure import ChargeRule, Failure, Reason
from services.providers.domain.usage import Usage, UsageSource, by_total, completed, count, inclusive, larger

counts = st.none() | st.integers(0, 10**6)


@given(counts, counts, counts, counts, counts, counts)
def test_parts_never_exceed_their_whole(
    whole: int | None,
    read: int | None,
    write: int | None,
    long: int | None,
    out: int | None,
    thought: int | None,
) -> None:
    usage = inclusive(
        input_tokens=whole,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_long_tokens=long,
        reasoning_tokens=thought,
    )
    if whole is not None:
        assert usage.cache_read_tokens + usage.cache_write_tokens + usage.cache_write_long_tokens <= whole
    if out is not None:
        assert usage.reasoning_tokens <= out
    assert usage.HasField("cache_read_tokens") == (read is not None), "unknown is not zero"


@pytest.mark.parametrize(
    ("given_", "extra", "expected"),
    [
        ((432, 68, 636), {"reasoning_tokens": 136}, (432, 204)),  # xAI: kept apart
        ((35, 12, 109), {}, (35, 74)),  # Gemini's OpenAI-shaped endpoint: hidden
        ((9, 201, 585), {"input_audio_tokens": 375}, (384, 201)),  # Mistral: audio kept apart
        ((10, 20, 30), {"reasoning_tokens": 15}, (10, 20)),
        ((10, 20, None), {"reasoning_tokens": 15, "reasoning_apart": True}, (10, 35)),
        ((10, 20, None), {"reasoning_tokens": 15}, (10, 20)),
        ((10, None, 30), {}, (10, 20)),
        ((None, 20, 30), {}, (10, 20)),
        ((10, 20, 5), {}, (10, 20)),
        ((None, None, None), {}, (None, None)),
    ],
)
def test_totals(given_: tuple[int, int, int], extra: dict[str, int], expected: tuple[int, int]) -> None:
    assert by_total(*given_, **extra) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [True, -1, 1.5, "7", None, 1 << 60, float("nan")])
def test_what_is_no_count(wrong: object) -> None:
    assert count(wrong) is None


def test_whole_numbers_with_a_point_are_counts() -> None:
    assert count(7.0) == 7


def test_of_a_cut_stream_the_larger_counts() -> None:
    vendor = inclusive(input_tokens=100, output_tokens=1)
    merged = larger(vendor, Usage(input_tokens=90, output_tokens=40))
    assert (merged.input_tokens, merged.output_tokens) == (100, 40)
    assert merged.source == UsageSource.USAGE_SOURCE_ESTIMATED
    assert larger(inclusive(input_tokens=1, output_tokens=50), Usage(output_tokens=40)).output_tokens == 50


def test_what_a_vendor_did_not_tell_is_counted() -> None:
    counted = Usage(input_tokens=90, output_tokens=40)
    without_input = completed(inclusive(input_tokens=None, output_tokens=7), counted)
    assert (without_input.input_tokens, without_input.output_tokens) == (90, 7)
    assert without_input.source == UsageSource.USAGE_SOURCE_ESTIMATED
    assert completed(inclusive(input_tokens=5, output_tokens=None), counted).output_tokens == 40
    whole = inclusive(input_tokens=1, output_tokens=2)
    assert completed(whole, counted) == whole
    assert completed(None, counted) == counted
    assert not completed(inclusive(input_tokens=5, output_tokens=None), Usage()).HasField("output_tokens")


def test_our_count_is_never_less_than_the_parts_a_vendor_told() -> None:
    counted = Usage(input_tokens=10, output_tokens=10)
    thought = completed(inclusive(input_tokens=5, output_tokens=None, reasoning_tokens=500), counted)
    assert (thought.output_tokens, thought.reasoning_tokens) == (500, 500)
    cached = inclusive(input_tokens=None, output_tokens=7, cache_read_tokens=30, cache_write_tokens=20)
    read = completed(cached, counted)
    assert (read.input_tokens, read.output_tokens) == (50, 7)
    assert read.source == UsageSource.USAGE_SOURCE_ESTIMATED
    heard = completed(inclusive(input_tokens=None, output_tokens=7, input_audio_tokens=3), counted)
    assert heard.input_tokens == 10


COUNTED = Usage(input_tokens=10, output_tokens=5)
TOLD = inclusive(input_tokens=12, output_tokens=9)


@pytest.mark.parametrize(
    ("progress", "usage", "rule", "output"),
    [
        (Progress(False, False, False, False), None, ChargeRule.CHARGE_RULE_NOTHING, None),
        (Progress(False, False, False, False), TOLD, ChargeRule.CHARGE_RULE_NOTHING, None),
        (Progress(True, False, False, False), None, ChargeRule.CHARGE_RULE_FULL, None),
        (Progress(True, False, False, True), None, ChargeRule.CHARGE_RULE_NOTHING, None),
        (Progress(True, True, False, True), TOLD, ChargeRule.CHARGE_RULE_USAGE, 9),
        (Progress(True, True, False, True), None, ChargeRule.CHARGE_RULE_NOTHING, None),
        (Progress(True, True, True, True), None, ChargeRule.CHARGE_RULE_USAGE, 5),
        (Progress(True, True, True, False), None, ChargeRule.CHARGE_RULE_USAGE, 5),
        (Progress(True, True, True, False), TOLD, ChargeRule.CHARGE_RULE_USAGE, 9),
        (Progress(True, True, False, False), None, ChargeRule.CHARGE_RULE_FULL, None),
    ],
)
def test_what_a_failure_costs(
    progress: Progress, usage: Usage | None, rule: ChargeRule.ValueType, output: int | None
) -> None:
    failure = settle(Failure(Reason.ERROR_REASON_VENDOR_ERROR, "", usage=usage), progress, COUNTED)
    assert failure.charge == rule
    assert (failure.usage.output_tokens if failure.usage else None) == output
