"""Serves the simulated vendors over HTTP.

    /openai/v1/chat/completions    /openai/v1/responses       /openai/v1/embeddings     /openai/v1/models
    /anthropic/v1/messages         /anthropic/v1/messages/count_tokens
    /gemini/v1beta/models/MODEL:generateContent    :streamGenerateContent    :countTokens    :batchEmbedContents
    /mistral/v1/chat/completions   /mistral/v1/embeddings

In front of each may stand the name of an instance (`/west/openai/v1/…`): rules of the scenario tell instances apart.
`GET` and `PUT /control/scenario` show and replace the scenario; replacing begins its clock and counters anew.
`GET /control/requests` tells what was asked and how it went.
"""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from services.providers.simulator.answers import Ask, Reply, make_reply
from services.providers.simulator.embeddings import count_answer, embedding_answer
from services.providers.simulator.formats import Format, Left, Malformed, Refusal, Stream, json_bytes
from services.providers.simulator.formats.anthropic import AnthropicSide
from services.providers.simulator.formats.gemini import GeminiSide
from services.providers.simulator.formats.mistral import MistralSide
from services.providers.simulator.formats.openai_chat import OpenAIChatSide
from services.providers.simulator.formats.openai_responses import OpenAIResponsesSide
from services.providers.simulator.scenario import (
    IN_STREAM,
    Director,
    Fault,
    Plan,
    Scenario,
    ScenarioInvalid,
    parse_scenario,
    scenario_data,
)

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Anthropic's limit, the largest of the four."""

REQUESTS_REMEMBERED: Final = 1_000
"""The latest ones, for the control endpoint."""

KEYS_MAX: Final = 10_000
"""Keys whose limits are counted; beyond, the counters begin anew."""

WRITE_BYTES_MAX: Final = 1 << 16
"""Tokens that are due together are written at least this often."""

_WINDOW_S: Final = 60.0
_REFUSAL_DELAY_S: Final = 0.002


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


@dataclass(slots=True)
class _Window:
    """What one key used in the minute."""

    began_s: float
    requests: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Simulator:
    """The state of one simulator. `clock` gives seconds and never goes back."""

    scenario: Scenario = field(default_factory=Scenario)
    clock: Callable[[], float] = time.monotonic
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=REQUESTS_REMEMBERED))
    in_flight: int = 0
    _director: Director = field(init=False)
    _began_s: float = field(init=False)
    _number: int = 0
    _windows: dict[str, _Window] = field(default_factory=dict)
    _totals: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.play(self.scenario)

    def play(self, scenario: Scenario) -> None:
        """Begins a scenario: its clock, its counters and the records start anew."""
        self.scenario = scenario
        self._director = Director(scenario)
        self._began_s = self.clock()
        self._windows.clear()
        self._totals.clear()
        self.records.clear()

    def application(self) -> web.Application:
        """The HTTP application."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        routes: list[tuple[str, Format]] = [
            ("openai/v1/{method:chat/completions}", OpenAIChatSide()),
            ("openai/v1/{method:responses}", OpenAIResponsesSide()),
            ("anthropic/v1/messages{slash:/?}{method:(count_tokens)?}", AnthropicSide()),
            ("mistral/v1/{method:chat/completions}", MistralSide()),
            ("gemini/{version:v1(beta)?}/models/{model:[^:]+}:{method:\\w+}", GeminiSide()),
            ("openai/v1/{method:embeddings}", OpenAIChatSide()),
            ("mistral/v1/{method:embeddings}", MistralSide()),
        ]
        for path, side in routes:
            handler = self._handler(side)
            application.router.add_post("/" + path, handler)
            application.router.add_post("/{instance:[a-zA-Z0-9_-]+}/" + path, handler)
        application.router.add_get("/openai/v1/models", self._models)
        application.router.add_get("/health", self._health)
        application.router.add_get("/control/scenario", self._show_scenario)
        application.router.add_put("/control/scenario", self._replace_scenario)
        application.router.add_get("/control/requests", self._show_requests)
        return application

    # ---- control -----------------------------------------------------------------------------------------------
    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": "simulated", "object": "model", "created": 0, "owned_by": "turnpike"}
        return web.json_response({"object": "list", "data": [model]})

    async def _show_scenario(self, request: web.Request) -> web.Response:
        elapsed_s = self.clock() - self._began_s
        return web.json_response({"scenario": scenario_data(self.scenario), "elapsed_s": elapsed_s})

    async def _replace_scenario(self, request: web.Request) -> web.Response:
        try:
            self.play(parse_scenario(await request.text()))
        except ScenarioInvalid as invalid:
            return web.json_response({"error": str(invalid)}, status=400)
        return web.json_response({"scenario": scenario_data(self.scenario)})

    async def _show_requests(self, request: web.Request) -> web.Response:
        shown = [{name: getattr(record, name) for name in Record.__slots__} for record in list(self.records)]
        totals = dict(self._totals)
        return web.json_response({"in_flight": self.in_flight, "totals": totals, "requests": shown})

    # ---- vendors -----------------------------------------------------------------------------------------------
    def _handler(self, side: Format) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.in_flight += 1
            try:
                return await self._answer(side, request)
            finally:
                self.in_flight -= 1

        return handle

    async def _answer(self, side: Format, request: web.Request) -> web.StreamResponse:
        path = request.match_info
        self._number += 1
        number = self._number
        request_id = f"{number:012d}"
        try:
            body = json.loads(await request.read())
            if not isinstance(body, dict):
                raise ValueError("is not an object")
            method = path.get("method", "")
            if method in ("embeddings", "batchEmbedContents"):
                return self._plain(embedding_answer(side.vendor, body, self.scenario.seed))
            ask = side.read(body, path)
            if method in ("count_tokens", "countTokens"):
                return self._plain(count_answer(side.vendor, ask))
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            said = str(wrong) if isinstance(wrong, Malformed) else "the request body is not valid"
            refusal = side.refusal(Fault.BAD_REQUEST, path.get("model", ""), None, request_id)
            return _refused(_with_message(refusal, said), side.headers(Left(), request_id))
        instance = path.get("instance", "")
        plan = self._director.plan(side.vendor, ask.model, instance, self.clock() - self._began_s)
        replies = [
            make_reply(ask, self.scenario.answers, self.scenario.seed + choice, number)
            for choice in range(ask.choices)
        ]
        fault, left = self._admitted(side.vendor, _key(request), ask, replies, plan)
        record = Record(side.vendor, instance, ask.model, ask.stream, fault)
        self.records.append(record)
        headers = side.headers(left, request_id)
        try:
            return await self._played(side, request, ask, replies, plan, fault, record, headers, left)
        except asyncio.CancelledError:
            record.outcome = "cancelled"
            raise
        except ConnectionError:
            # Ours when the scenario broke the connection, the client's otherwise.
            record.outcome = "broken" if record.outcome == "broken" else "cancelled"
            raise
        finally:
            self._totals[record.outcome] += 1
            self._totals[f"{side.vendor}.{record.outcome}"] += 1

    async def _played(
        self,
        side: Format,
        request: web.Request,
        ask: Ask,
        replies: list[Reply],
        plan: Plan,
        fault: Fault,
        record: Record,
        headers: Mapping[str, str],
        left: Left,
    ) -> web.StreamResponse:
        if fault is Fault.REFUSE:
            record.outcome = "broken"
            _abort(request)
            raise ConnectionResetError("refused by the scenario")
        if fault not in IN_STREAM:
            record.outcome = "refused"
            await asyncio.sleep(_REFUSAL_DELAY_S)
            wait_s = plan.retry_after_s
            if wait_s is None and fault is Fault.RATE_LIMIT and left.reset_s:
                wait_s = round(left.reset_s, 3)
            return _refused(side.refusal(fault, ask.model, wait_s, headers_id(headers)), headers)
        if fault is Fault.CONTENT_FILTER:
            for reply in replies:
                reply.text, reply.calls, reply.finish = reply.text[: plan.after_tokens], [], "filter"
        created = int(time.time())
        if ask.stream:
            stream = side.stream(ask, replies, created)
            return await self._streamed(side, request, stream, plan, fault, record, headers)
        return await self._whole(side, request, ask, replies, plan, fault, record, created, headers)

    async def _whole(
        self,
        side: Format,
        request: web.Request,
        ask: Ask,
        replies: list[Reply],
        plan: Plan,
        fault: Fault,
        record: Record,
        created: int,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        tokens = sum(reply.output_tokens for reply in replies)
        await asyncio.sleep(plan.first_token_s + plan.token_interval_s * tokens)
        if fault is Fault.STALL:
            await asyncio.sleep(plan.stall_s)
        content = json_bytes(side.whole(ask, replies, created))
        if fault in (Fault.GARBAGE, Fault.ERROR_EVENT):
            record.outcome = "broken"
            return web.Response(
                body=content[: len(content) // 2], headers=headers, content_type="application/json"
            )
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/json"
        response.content_length = len(content)
        await response.prepare(request)
        if fault in (Fault.TRUNCATE, Fault.RESET):
            record.outcome = "broken"
            await response.write(content[: len(content) // 2])
            _abort(request)
            raise ConnectionResetError("broken by the scenario")
        await response.write(content)
        await response.write_eof()
        record.outcome, record.output_tokens_sent = "done", tokens
        return response

    async def _streamed(
        self,
        side: Format,
        request: web.Request,
        stream: Stream,
        plan: Plan,
        fault: Fault,
        record: Record,
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        began_s = self.clock()
        response = web.StreamResponse(
            headers={**headers, "cache-control": "no-cache", "content-type": side.content_type}
        )
        breaks_at = plan.after_tokens if fault not in (Fault.NONE, Fault.CONTENT_FILTER) else -1
        if breaks_at != 0 or fault is not Fault.STALL:
            await response.prepare(request)
            if stream.head:
                await response.write(stream.head)
        # Tokens that are due are written together: behind its pace the simulator writes less often, not later.
        pending = b""
        for number, token in enumerate(stream.tokens):
            if number == breaks_at:
                if pending:
                    await response.write(pending)
                    pending = b""
                await self._broken(side, request, response, plan, fault, record)
                if fault is not Fault.STALL:
                    return response
                if not response.prepared:
                    await response.prepare(request)
                    await response.write(stream.head)
                began_s += plan.stall_s
            wait_s = began_s + plan.first_token_s + plan.token_interval_s * number - self.clock()
            if wait_s > 0:
                if pending:
                    await response.write(pending)
                    pending = b""
                await asyncio.sleep(wait_s)
            pending += token
            record.output_tokens_sent += 1
            if len(pending) > WRITE_BYTES_MAX:
                await response.write(pending)
                pending = b""
        if breaks_at >= len(stream.tokens):
            if pending:
                await response.write(pending)
                pending = b""
            await self._broken(side, request, response, plan, fault, record)
            if fault is not Fault.STALL:
                return response
        await response.write(pending + stream.tail)
        await response.write_eof()
        record.outcome = "done"
        return response

    async def _broken(
        self,
        side: Format,
        request: web.Request,
        response: web.StreamResponse,
        plan: Plan,
        fault: Fault,
        record: Record,
    ) -> None:
        """What the scenario wants in the middle of a stream. Raises ConnectionResetError for a broken connection."""
        if fault is Fault.STALL:
            await asyncio.sleep(plan.stall_s)
            return
        record.outcome = "broken"
        if fault is Fault.RESET:
            _abort(request)
            raise ConnectionResetError("broken by the scenario")
        if fault is Fault.ERROR_EVENT:
            await response.write(side.error_event())
        elif fault is Fault.GARBAGE:
            await response.write(b'data: {"choices":[{"delta":{"cont\n\n')
        await response.write_eof()

    def _admitted(
        self, vendor: str, key: str, ask: Ask, replies: list[Reply], plan: Plan
    ) -> tuple[Fault, Left]:
        """The fault that is played, and what is left of the key's limits after this request."""
        limits, now_s = self.scenario.limits, self.clock()
        if self.scenario.require_key and not key:
            return Fault.AUTHENTICATION, Left()
        if len(self._windows) > KEYS_MAX:
            self._windows.clear()
        window = self._windows.get(f"{vendor}:{key}")
        if window is None or now_s - window.began_s >= _WINDOW_S:
            window = self._windows[f"{vendor}:{key}"] = _Window(now_s)
        tokens = ask.input_tokens + sum(reply.output_tokens for reply in replies)
        fits = (limits.requests_per_minute is None or window.requests < limits.requests_per_minute) and (
            limits.tokens_per_minute is None or window.tokens + tokens <= limits.tokens_per_minute
        )
        if fits:
            window.requests += 1
            window.tokens += tokens
        left = Left(
            limits.requests_per_minute,
            None if limits.requests_per_minute is None else limits.requests_per_minute - window.requests,
            limits.tokens_per_minute,
            None if limits.tokens_per_minute is None else limits.tokens_per_minute - window.tokens,
            max(0.0, window.began_s + _WINDOW_S - now_s),
        )
        if plan.fault is Fault.NONE and not fits:
            return Fault.RATE_LIMIT, left
        if (
            plan.fault is Fault.NONE
            and limits.concurrency is not None
            and self.in_flight > limits.concurrency
        ):
            return Fault.OVERLOADED, left
        return plan.fault, left

    def _plain(self, answer: Mapping[str, Any]) -> web.Response:
        return web.Response(body=json_bytes(answer), content_type="application/json")


def headers_id(headers: Mapping[str, str]) -> str:
    """The request's id out of whatever header has it."""
    for name in ("x-request-id", "request-id", "mistral-correlation-id"):
        if name in headers:
            return headers[name].removeprefix("req_")
    return ""


def _key(request: web.Request) -> str:
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if request.headers.get(name):
            return request.headers[name]
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip() or request.query.get(
        "key", ""
    )


def _refused(refusal: Refusal, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        body=json_bytes(refusal.body),
        status=refusal.status,
        headers={**headers, **refusal.headers},
        content_type="application/json",
    )


def _with_message(refusal: Refusal, message: str) -> Refusal:
    error = refusal.body.get("error")
    if isinstance(error, dict):
        error["message"] = message
    return refusal


def _abort(request: web.Request) -> None:
    """Breaks the connection as a crash does: without what was still to be sent."""
    if request.transport is not None:
        request.transport.abort()


class RunningSimulator:
    """A simulator that listens. An async context manager; leaving it closes every connection."""

    def __init__(self, scenario: Scenario | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.simulator = Simulator(scenario or Scenario())
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.url = ""
        """`http://host:port`, once it listens."""

    async def __aenter__(self) -> "RunningSimulator":
        self._runner = web.AppRunner(
            self.simulator.application(),
            handler_cancellation=True,  # a client that leaves is noticed even while nothing is written
            access_log=None,
            shutdown_timeout=0.5,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://{self._host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
