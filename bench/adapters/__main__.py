"""The command: see the package."""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvloop

from services.kernel.clock import SystemClock
from services.providers.adapters.credentials import CredentialPool
from services.providers.adapters.http.client import VendorHttp
from services.providers.adapters.registry import format_of, vendor_named
from services.providers.domain.endpoint import EndpointSpec
from services.providers.ports import Call, Credential, HttpRequest
from services.providers.use_cases.attempt import AttemptRun, Resources
from services.providers.use_cases.endpoints import EndpointBook
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

AT_ONCE = 8
ROUNDS = 3
PROMPT = "Say something about foxes and dogs, please."
# Family → (our vendor, our wire format, base path at the bench's server, model).
FAMILIES = {
    "openai_chat": ("openai", "openai_chat", "/openai_chat", "gpt-5.4-mini"),
    "openai_responses": ("openai", "openai_responses", "/openai_responses", "gpt-5.4-mini"),
    "anthropic_messages": ("anthropic", "anthropic_messages", "/anthropic_messages/v1", "claude-sonnet-4-5"),
    "gemini": ("gemini", "gemini", "/gemini/v1beta", "gemini-2.5-flash"),
    "mistral": ("mistral", "openai_chat", "/mistral/v1", "mistral-medium-latest"),
}

Work = Callable[[bool], Awaitable[int]]
"""One call, streamed or not; returns how many pieces came."""


@dataclass
class _Sink:
    pieces: int = 0

    async def started(self, endpoint_id: str) -> None:
        pass

    def put(self, deltas: Any) -> bool:
        self.pieces += len(deltas)
        return True

    async def ready(self) -> None:
        pass


def attempt(stream: bool) -> providers_pb2.Attempt:
    message = content_pb2.Message(role=content_pb2.Role.ROLE_USER)
    message.parts.add().text.text = PROMPT
    return providers_pb2.Attempt(
        model="bench/model",
        input=content_pb2.GenerationInput(messages=[message]),
        max_output_tokens=1000,
        stream=stream,
    )


def ours(http: VendorHttp, root: str, family: str) -> Work:
    """An attempt through the adapter, as Dispatch makes it."""
    provider, name, path, model = FAMILIES[family]
    clock = SystemClock()
    book = EndpointBook(clock)
    spec = EndpointSpec("bench", "bench/model", provider, name, root + path, model)
    book.replace([spec])
    pool = CredentialPool(clock, [Credential("key", provider, "key")])
    resources = Resources(book, http, pool, vendor_named, format_of, clock)

    async def work(stream: bool) -> int:
        sink = _Sink()
        await AttemptRun(attempt(stream), sink, resources, 60.0).run()
        return sink.pieces

    return work


def requests_of(family: str) -> dict[bool, HttpRequest]:
    """What is sent, streamed or not, for clients that only send and read."""
    provider, name, _, model = FAMILIES[family]
    wire_format = format_of(provider, name)
    assert wire_format is not None
    profile = EndpointSpec("", "", "", "", "", "").profile
    return {
        stream: wire_format.build(
            Call(attempt(stream).input, model, 1000, stream, provider=provider), profile
        )
        for stream in (False, True)
    }


def plain(http: VendorHttp, root: str, family: str) -> Work:
    """Our HTTP client alone, within a deadline: the bytes sent and read, and nothing made of them."""
    requests, base = requests_of(family), root + FAMILIES[family][2]

    async def work(stream: bool) -> int:
        request = requests[stream]
        url = base + request.path
        async with (
            asyncio.timeout(60.0),
            http.send("POST", url, request.headers, request.body, connect_timeout_s=5.0) as response,
        ):
            while await response.read():
                pass
            return 0

    return work


def raw(session: aiohttp.ClientSession, root: str, family: str) -> Work:
    """aiohttp alone: the same bytes sent and read, and nothing made of them."""
    requests, base = requests_of(family), root + FAMILIES[family][2]

    async def work(stream: bool) -> int:
        request = requests[stream]
        url = base + request.path
        async with session.post(url, data=request.body, headers=request.headers) as response:
            if not stream:
                await response.read()
                return 0
            while await response.content.readany():
                pass
            return 0

    return work


def sdk(root: str, family: str) -> Work:
    """The vendor's own client."""
    _, _, path, model = FAMILIES[family]
    base = root + path
    said: Any = [{"role": "user", "content": PROMPT}]
    match family:
        case "openai_chat" | "openai_responses":
            import openai

            client = openai.AsyncOpenAI(api_key="key", base_url=base, max_retries=0)
            if family == "openai_chat":

                async def chat(stream: bool) -> int:
                    asked: Any = client.chat.completions
                    if not stream:
                        await asked.create(model=model, messages=said, max_completion_tokens=1000)
                        return 0
                    return await _drain(await asked.create(model=model, messages=said, stream=True))

                return chat

            async def responses(stream: bool) -> int:
                asked: Any = client.responses
                answer = await asked.create(model=model, input=said, stream=stream)
                return await _drain(answer) if stream else 0

            return responses
        case "anthropic_messages":
            import anthropic

            messages: Any = anthropic.AsyncAnthropic(
                api_key="key", base_url=base.removesuffix("/v1"), max_retries=0
            ).messages

            async def message(stream: bool) -> int:
                answer = await messages.create(model=model, max_tokens=1000, messages=said, stream=stream)
                return await _drain(answer) if stream else 0

            return message
        case "gemini":
            from google import genai
            from google.genai import types

            options = types.HttpOptions(base_url=root + "/gemini", api_version="v1beta")
            models: Any = genai.Client(api_key="key", http_options=options).aio.models

            async def content(stream: bool) -> int:
                if not stream:
                    await models.generate_content(model=model, contents=PROMPT)
                    return 0
                return await _drain(await models.generate_content_stream(model=model, contents=PROMPT))

            return content
        case _:
            from mistralai.client import Mistral

            asked: Any = Mistral(api_key="key", server_url=root + "/mistral").chat

            async def mistral(stream: bool) -> int:
                if not stream:
                    await asked.complete_async(model=model, messages=said)
                    return 0
                return await _drain(await asked.stream_async(model=model, messages=said))

            return mistral


async def _drain(stream: Any) -> int:
    pieces = 0
    async for _ in stream:
        pieces += 1
    return pieces


async def cpu_us(work: Work, times: int, *, stream: bool) -> float:
    """CPU of this process per call, in microseconds; AT_ONCE calls run side by side."""

    async def some(count: int) -> None:
        for _ in range(count):
            await work(stream)

    await some(3)
    begun = time.process_time()
    await asyncio.gather(*(some(times // AT_ONCE) for _ in range(AT_ONCE)))
    return (time.process_time() - begun) / (times // AT_ONCE * AT_ONCE) * 1e6


async def bench(root: str, calls: int, streams: int, pieces: int) -> None:
    async with VendorHttp() as http, aiohttp.ClientSession() as session:
        for title, stream, times, share in (
            ("whole answer", False, calls, 1),
            ("streamed piece", True, streams, pieces),
        ):
            print(f"{title}, us of CPU")
            print(
                f"{'':<20}{'aiohttp':>9}{'plain':>9}{'ours':>9}{'SDK':>9}{'ours/aiohttp':>15}{'ours/plain':>12}{'SDK/ours':>10}"
            )
            for family in FAMILIES:
                works = (
                    (raw(session, root, family), times),
                    (plain(http, root, family), times),
                    (ours(http, root, family), times),
                    (sdk(root, family), max(AT_ONCE, times // 4)),
                )
                rounds = [
                    [await cpu_us(work, count, stream=stream) / share for work, count in works]
                    for _ in range(ROUNDS)
                ]
                by_aiohttp, alone, own, theirs = (
                    statistics.median(column) for column in zip(*rounds, strict=True)
                )
                print(
                    f"{family:<20}{by_aiohttp:9.1f}{alone:9.1f}{own:9.1f}{theirs:9.1f}"
                    f"{own / by_aiohttp:15.2f}{own / alone:12.2f}{theirs / own:10.1f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.adapters")
    parser.add_argument("--calls", type=int, default=320)
    parser.add_argument("--streams", type=int, default=48)
    parser.add_argument("--pieces", type=int, default=200)
    options = parser.parse_args()
    command = [sys.executable, "-m", "bench.adapters.server", str(options.pieces)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            root = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            uvloop.run(bench(root, options.calls, options.streams, options.pieces))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
