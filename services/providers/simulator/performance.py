"""Plays one request's script: waits, writes, stalls, breaks off."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.providers.simulator.answers import Ask, Reply
from services.providers.simulator.formats import Format, Left, Refusal, Stream, json_bytes
from services.providers.simulator.scenario import IN_STREAM, Fault, Script

WRITE_BYTES_MAX: Final = 1 << 16
"""Tokens that are due together are written at least this often."""

PROMPT_START_MAX: Final = 64

REFUSAL_DELAY_S: Final = 0.002
_CUT_CHUNK: Final = b'data: {"choices":[{"delta":{"cont\n\n'


@dataclass(slots=True)
class Record:
    """One request and how it went."""

    vendor: str
    instance: str
    model: str
    stream: bool
    fault: str
    outcome: str = "running"
    """`done`, `refused`, `broken` (by a fault) or `cancelled` (by the client)."""
    output_tokens_sent: int = 0
    number: int = 0
    """From 1, in the order of arrival; its twelve digits are in the answer's request id."""
    arrived_at: float = 0.0
    """Unix seconds."""
    prompt_start: str = ""
    """The first PROMPT_START_MAX characters of what was asked: enough to tell test requests apart."""
    answer: str = ""
    """The text of the first choice, whole, however much of it was sent."""


@dataclass(slots=True)
class Performance:
    """One request, its script, and what is played."""

    side: Format
    request: web.Request
    ask: Ask
    replies: list[Reply]
    script: Script
    fault: Fault
    """The script's, or a limit's."""
    left: Left
    request_id: str
    record: Record
    clock: Callable[[], float]

    async def play(self) -> web.StreamResponse:
        """The response. Raises ConnectionResetError where the scenario breaks the connection."""
        if self.fault is Fault.REFUSE:
            raise self._broken_connection()
        headers = self.side.headers(self.left, self.request_id)
        if self.fault not in IN_STREAM:
            self.record.outcome = "refused"
            await asyncio.sleep(REFUSAL_DELAY_S)
            wait_s = self.script.retry_after_s
            if wait_s is None and self.fault is Fault.RATE_LIMIT and self.left.reset_s:
                wait_s = round(self.left.reset_s, 3)
            return refused(self.side.refusal(self.fault, self.ask.model, wait_s, self.request_id), headers)
        if self.fault is Fault.CONTENT_FILTER:
            for reply in self.replies:
                reply.text, reply.calls, reply.finish = reply.text[: self.script.after_tokens], [], "filter"
        created = int(time.time())
        if self.ask.stream:
            return await self._streamed(self.side.stream(self.ask, self.replies, created), headers)
        return await self._whole(created, headers)

    async def _whole(self, created: int, headers: Mapping[str, str]) -> web.StreamResponse:
        tokens = sum(reply.output_tokens for reply in self.replies)
        await asyncio.sleep(self.script.first_token_s + self.script.token_interval_s * tokens)
        if self.fault is Fault.STALL:
            await asyncio.sleep(self.script.stall_s)
        content = json_bytes(self.side.whole(self.ask, self.replies, created))
        half = content[: len(content) // 2]
        if self.fault in (Fault.GARBAGE, Fault.ERROR_EVENT):
            self.record.outcome = "broken"
            return web.Response(body=half, headers=headers, content_type="application/json")
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/json"
        response.content_length = len(content)
        await response.prepare(self.request)
        if self.fault in (Fault.TRUNCATE, Fault.RESET):
            await response.write(half)
            raise self._broken_connection()
        await response.write(content)
        await response.write_eof()
        self.record.outcome, self.record.output_tokens_sent = "done", tokens
        return response

    async def _streamed(self, stream: Stream, headers: Mapping[str, str]) -> web.StreamResponse:
        script = self.script
        began_s = self.clock()
        response = web.StreamResponse(
            headers={**headers, "cache-control": "no-cache", "content-type": self.side.content_type}
        )
        breaks_at = script.after_tokens if self.fault not in (Fault.NONE, Fault.CONTENT_FILTER) else None
        if self.fault is Fault.STALL and breaks_at == 0:  # not even the headers come
            await asyncio.sleep(script.stall_s)
            began_s, breaks_at = self.clock(), None
        await response.prepare(self.request)
        await response.write(stream.head or b"")
        # Tokens that are due are written together: behind its pace the simulator writes less often, not later.
        pending = b""
        for number, token in enumerate(stream.tokens):
            if number == breaks_at:
                await _flush(response, pending)
                pending = b""
                if await self._ended(response):
                    return response
                began_s += script.stall_s
            wait_s = began_s + script.first_token_s + script.token_interval_s * number - self.clock()
            if wait_s > 0:
                await _flush(response, pending)
                pending = b""
                await asyncio.sleep(wait_s)
            pending += token
            self.record.output_tokens_sent += 1
            if len(pending) > WRITE_BYTES_MAX:
                await response.write(pending)
                pending = b""
        if breaks_at is not None and breaks_at >= len(stream.tokens):
            await _flush(response, pending)
            pending = b""
            if await self._ended(response):
                return response
        await response.write(pending + stream.tail)
        await response.write_eof()
        self.record.outcome = "done"
        return response

    async def _ended(self, response: web.StreamResponse) -> bool:
        """What the scenario wants in the middle of a stream; true if that ends it."""
        if self.fault is Fault.STALL:
            await asyncio.sleep(self.script.stall_s)
            return False
        if self.fault is Fault.RESET:
            raise self._broken_connection()
        self.record.outcome = "broken"
        if self.fault is Fault.ERROR_EVENT:
            await response.write(self.side.error_event())
        elif self.fault is Fault.GARBAGE:
            await response.write(_CUT_CHUNK)
        await response.write_eof()
        return True

    def _broken_connection(self) -> ConnectionResetError:
        """Breaks the connection as a crash does: without what was still to be sent."""
        self.record.outcome = "broken"
        if self.request.transport is not None:
            self.request.transport.abort()
        return ConnectionResetError("broken by the scenario")


async def _flush(response: web.StreamResponse, pending: bytes) -> None:
    if pending:
        await response.write(pending)


def refused(refusal: Refusal, headers: Mapping[str, str]) -> web.Response:
    """An error answer."""
    return web.Response(
        body=json_bytes(refusal.body),
        status=refusal.status,
        headers={**headers, **refusal.headers},
        content_type="application/json",
    )
