"""A real model, small and on this machine, through two wire formats: OpenAI's and Anthropic's."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.local.child import ChildSpec, running
from services.local.weights import KEY_VARIABLE
from tests.support.providers import Providers, attempt, providers
from tests.support.stack_process import until
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2 as pb

pytestmark = pytest.mark.timeout(120)

FORMATS = ("openai_chat", "anthropic_messages")
PROMPT = "Tell me a story about a road."


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("model")
    ready = folder / "ready"
    spec = ChildSpec(
        "model",
        (sys.executable, "-m", "services.local.model_server", "--name", "small", "--port", "0"),
        {**os.environ, KEY_VARIABLE: "", "TURNPIKE_READY_FILE": str(ready)},
        folder,
        folder / "log",
    )
    with running(spec):
        until(ready.exists, "the model")
        yield ready.read_text().strip()


def endpoints(address: str) -> list[dict[str, Any]]:
    return [
        {
            "model": f"local/{wire_format}",
            "vendor_model": "small",
            "base_url": f"{address}/v1",
            "wire_format": wire_format,
        }
        for wire_format in FORMATS
    ]


def asking(wire_format: str) -> pb.Attempt:
    asked = attempt(PROMPT, model=f"local/{wire_format}", max_output_tokens=24)
    asked.input.sampling.temperature = 0.0
    return asked


async def told(service: Providers, wire_format: str) -> tuple[pb.AttemptFinished, str, pb.AttemptFinished]:
    """The whole answer, the streamed text, and how the stream finished."""
    request = pb.GenerateRequest(attempt=asking(wire_format))
    whole: pb.GenerateResponse = await service.remote.unary(service.stub.Generate, request, timeout_s=60)
    streaming = pb.StreamGenerateRequest(attempt=asking(wire_format))
    async with service.remote.stream(service.stub.StreamGenerate, streaming, timeout_s=60) as events:
        found = [event async for event in events]
    return whole.finished, "".join(event.delta.text for event in found), found[-1].finished


async def test_the_same_model_says_the_same_in_both_formats(address: str, tmp_path: Path) -> None:
    async with providers(tmp_path, endpoints(address)) as service:
        answers = [await told(service, wire_format) for wire_format in FORMATS]
    texts = set()
    for whole, streamed, finished in answers:
        [choice] = whole.choices
        text = "".join(part.text.text for part in choice.message.parts)
        assert text
        assert text == streamed
        assert choice.finish_reason == content_pb2.FINISH_REASON_LENGTH
        assert whole.usage.output_tokens == finished.usage.output_tokens == 24
        # What the server read from its cache is part of the input, whichever format tells it.
        assert whole.usage.input_tokens == finished.usage.input_tokens > 5
        texts.add(text)
    assert len(texts) == 1
    assert answers[0][0].usage.input_tokens == answers[1][0].usage.input_tokens


async def test_the_model_counts_a_prompt_as_it_bills_it(address: str, tmp_path: Path) -> None:
    async with providers(tmp_path, endpoints(address)) as service:
        finished, _, _ = await told(service, "anthropic_messages")
        request = pb.CountTokensRequest(
            model="local/anthropic_messages", input=asking("anthropic_messages").input
        )
        ours = await service.remote.unary(service.stub.CountTokens, request, timeout_s=60)
        request.ask_vendor = True
        theirs = await service.remote.unary(service.stub.CountTokens, request, timeout_s=60)
    assert theirs.from_vendor
    assert theirs.estimate == finished.usage.input_tokens
    assert ours.upper_bound >= theirs.estimate
