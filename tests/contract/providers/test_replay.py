"""Every recorded answer comes out right, and a fault in an adapter would be noticed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.providers.adapters.vendors import openrouter
from services.providers.adapters.wire import (
    anthropic_answer,
    gemini_usage,
    openai_chat_parts,
    openai_chat_response,
    openai_chat_stream,
    openai_dialect,
    openai_responses_answer,
    sse,
)
from services.providers.domain import classify, finish, usage
from services.providers.domain.failure import Reason
from tests.contract.providers.replay.recording import SUPPORTED, UNSUPPORTED, Recording, load
from tests.contract.providers.replay.run import replay
from tests.support.recordings import FOLDER, WHY_MISSING, available

pytestmark = pytest.mark.skipif(not available(), reason=WHY_MISSING)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return load(FOLDER)


def test_no_recording_is_passed_over(recordings: list[Recording]) -> None:
    files = [path for path in FOLDER.rglob("*.json") if path.is_file()]
    assert len(recordings) == len(files)
    families = {recording.family for recording in recordings}
    assert families <= {*SUPPORTED, *UNSUPPORTED}


@pytest.mark.timeout(300)
async def test_every_recording_comes_out_right_over_http(recordings: list[Recording]) -> None:
    report = await replay(recordings, splits=1, every_position=False, one_byte=False)
    assert report.passed, "\n".join(report.lines())


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_streams_may_be_split_anywhere(recordings: list[Recording]) -> None:
    report = await replay(recordings, splits=20)
    assert report.passed, "\n".join(report.lines())


def test_the_expectations_know_nothing_of_the_services() -> None:
    folder = Path(__file__).parent / "expectations"
    for file in folder.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "services" not in text.replace("imports nothing of the services", ""), file.name
        assert "turnpike" not in text, file.name


Plant = Callable[[pytest.MonkeyPatch], None]


def _patched(module: Any, name: str, replacement: Any) -> Plant:
    return lambda patch: patch.setattr(module, name, replacement)


def _without(*dropped: str) -> Callable[..., Any]:
    def wrong(**counts: Any) -> Any:
        kept: dict[str, Any] = {name: None if name in dropped else value for name, value in counts.items()}
        return usage.inclusive(**kept)

    return wrong


def _only_plain_input(**counts: Any) -> Any:
    read = counts.get("cache_read_tokens") or 0
    return usage.inclusive(**{**counts, "input_tokens": (counts["input_tokens"] or 0) - read})


def _decode_each_piece(original: Any) -> Any:
    def feed(self: Any, data: bytes) -> Any:
        return original(self, data.decode("utf-8", "replace").encode())

    return feed


def _one_call_only(original: Any) -> Any:
    def add(calls: Any, *rest: Any) -> None:
        original([{**call, "index": 0, "id": None} for call in calls], *rest)

    return add


def _first_piece_only(calls: Any, *rest: Any, original: Any = openai_chat_stream._add_calls) -> None:
    kept = [
        {**call, "function": {**call.get("function", {}), "arguments": ""}}
        for call in calls
        if not call.get("id")
    ]
    original(kept or calls, *rest)


FAULTS: dict[str, tuple[str, Plant]] = {
    "a length is taken for a stop": (
        "openai",
        lambda patch: patch.setitem(finish.FINISH_REASONS, "length", finish.FinishReason.FINISH_REASON_STOP),
    ),
    "cached tokens are lost": (
        "openai",
        _patched(openai_dialect, "inclusive", _without("cache_read_tokens")),
    ),
    "reasoning that is kept apart is not billed": (
        "xai",
        _patched(openai_dialect, "by_total", lambda given, output, _total, **_: (given, output)),
    ),
    "cached tokens may exceed the input": ("azure", _patched(usage, "_part", lambda value, _whole: value)),
    "cached tokens are left out of the input": (
        "anthropic",
        _patched(anthropic_answer, "inclusive", _only_plain_input),
    ),
    "thoughts are not billed": (
        "gemini",
        _patched(gemini_usage, "inclusive", _without("reasoning_tokens")),
    ),
    "parallel calls run together": (
        "openai",
        _patched(openai_chat_stream, "_add_calls", _one_call_only(openai_chat_stream._add_calls)),
    ),
    "later pieces of arguments are lost": (
        "openai",
        _patched(openai_chat_stream, "_add_calls", _first_piece_only),
    ),
    "a character split over two reads is broken": (
        "openai",
        _patched(sse.LineDecoder, "feed", _decode_each_piece(sse.LineDecoder.feed)),
    ),
    "only line feeds end lines": (
        "perplexity",
        _patched(sse.LineDecoder, "feed", lambda _self, data: data.split(b"\n")[:-1]),
    ),
    "a used-up quota is taken for a rate limit": (
        "_issue_quoted",
        lambda patch: (
            patch.setattr(classify, "_QUOTA_WORDS", frozenset()),
            patch.setattr(classify, "_QUOTA_TEXT", re.compile("$^")),
        )[0],
    ),
    "every error is worth another try": (
        "openai",
        _patched(classify, "reason_of", lambda *_: (Reason.ERROR_REASON_VENDOR_ERROR, None)),
    ),
    "reasoning is dropped": ("deepseek", _patched(openai_chat_stream, "reasoning_of", lambda *_: None)),
    "errors inside a stream are passed over": (
        "groq",
        _patched(openai_chat_stream.ChatStream, "_fail", lambda *_: None),
    ),
    "a stated cost is ten times too high": (
        "openrouter",
        _patched(openrouter, "usd_nanos", lambda amount: round(amount * 1e10)),
    ),
    "a refusal is taken for text": (
        "openai",
        _patched(openai_chat_response, "finish_reason", lambda raw, **_: finish.finish_reason(raw)),
    ),
    "a response's summary is lost": (
        "openai",
        _patched(openai_responses_answer, "reasoning_part", lambda *_: openai_chat_parts.ReasoningPart()),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_planted_fault_turns_a_recording_red(
    fault: str, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, plant = FAULTS[fault]
    chosen = [recording for recording in recordings if recording.name.split("/")[0] == vendor]
    assert chosen
    plant(monkeypatch)
    report = await replay(chosen, splits=0, every_position=False, one_byte="split" in fault)
    assert report.wrong, f"no recording of {vendor} noticed that {fault}"


def test_faults_are_many_enough() -> None:
    assert len(FAULTS) >= 12
