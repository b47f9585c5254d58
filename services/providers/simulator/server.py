"""Serves the simulated vendors over HTTP.

    /openai/v1/chat/completions    /openai/v1/responses       /openai/v1/embeddings     /openai/v1/models
    /anthropic/v1/messages         /anthropic/v1/messages/count_tokens
    /gemini/v1beta/models/MODEL:generateContent    :streamGenerateContent    :countTokens    :batchEmbedContents
    /mistral/v1/chat/completions   /mistral/v1/embeddings

In front of each may stand the name of an instance (`/west/openai/v1/…`): rules of the scenario tell instances apart.
`GET` and `PUT /control/scenario` show and replace the scenario; replacing begins its clock and counters anew.
`GET /control/requests` tells what was asked and how it went; a log, where one is given, has every request as a line.
"""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from aiohttp import web

from services.providers.simulator.answers import Ask, Reply, make_reply
from services.providers.simulator.embeddings import count_answer, embedding_answer
from services.providers.simulator.formats import Format, Left, Malformed, Refusal, json_bytes
from services.providers.simulator.formats.anthropic import AnthropicSide
from services.providers.simulator.formats.gemini import GeminiSide
from services.providers.simulator.formats.mistral import MistralSide
from services.providers.simulator.formats.openai_chat import OpenAIChatSide
from services.providers.simulator.formats.openai_responses import OpenAIResponsesSide
from services.providers.simulator.key_limits import KeyLimits
from services.providers.simulator.performance import PROMPT_START_MAX, Performance, Record, refused
from services.providers.simulator.scenario import (
    Director,
    Fault,
    Scenario,
    ScenarioInvalid,
    parse_scenario,
    scenario_data,
)

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""Anthropic's limit, the largest of the four."""

REQUESTS_REMEMBERED: Final = 1_000
"""The latest ones, for the control endpoint."""


@dataclass(slots=True)
class Simulator:
    """The state of one simulator. `clock` gives seconds and never goes back."""

    scenario: Scenario = field(default_factory=Scenario)
    clock: Callable[[], float] = time.monotonic
    log: TextIO | None = None
    """Gets each request as a line of JSON when it has ended, however it ended."""
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=REQUESTS_REMEMBERED))
    in_flight: int = 0
    _director: Director = field(init=False)
    _began_s: float = field(init=False)
    _number: int = 0
    _limits: KeyLimits = field(default_factory=KeyLimits)
    _totals: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.play(self.scenario)

    def play(self, scenario: Scenario) -> None:
        """Begins a scenario: its clock, its counters and the records start anew."""
        self.scenario = scenario
        self._director = Director(scenario)
        self._began_s = self.clock()
        self._limits.clear()
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
        shown = [_told(record) for record in self.records]
        totals = dict(self._totals)
        return web.json_response({"in_flight": self.in_flight, "totals": totals, "requests": shown})

    # ---- vendors -----------------------------------------------------------------------------------------------
    def _handler(self, side: Format) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.in_flight += 1
            try:
                return await self._answer(side, request)
            except ConnectionError:
                return web.Response()  # there is nobody to read it: aiohttp would log what the scenario wants
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
            return refused(_with_message(refusal, said), side.headers(Left(), request_id))
        instance = path.get("instance", "")
        script = self._director.script(side.vendor, ask.model, instance, self.clock() - self._began_s)
        replies = [
            make_reply(ask, self.scenario.answers, self.scenario.seed + choice, number)
            for choice in range(ask.choices)
        ]
        fault, left = self._admitted(side.vendor, _key(request), ask, replies, script.fault)
        record = Record(
            side.vendor,
            instance,
            ask.model,
            ask.stream,
            fault,
            number=number,
            arrived_at=time.time(),
            prompt_start=ask.prompt.lstrip()[:PROMPT_START_MAX],
            answer="".join(replies[0].text),
        )
        self.records.append(record)
        try:
            return await Performance(
                side, request, ask, replies, script, fault, left, request_id, record, self.clock
            ).play()
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
            if self.log is not None:
                self.log.write(json.dumps(_told(record), ensure_ascii=False) + "\n")

    def _admitted(
        self, vendor: str, key: str, ask: Ask, replies: list[Reply], scripted: Fault
    ) -> tuple[Fault, Left]:
        """The fault that is played: the script's, or that of a limit; and what is left of the key's limits."""
        limits = self.scenario.limits
        if self.scenario.require_key and not key:
            return Fault.AUTHENTICATION, Left()
        tokens = ask.input_tokens + sum(reply.output_tokens for reply in replies)
        fits, left = self._limits.take(limits, f"{vendor}:{key}", tokens, self.clock())
        if scripted is not Fault.NONE:
            return scripted, left
        if not fits:
            return Fault.RATE_LIMIT, left
        crowded = limits.concurrency is not None and self.in_flight > limits.concurrency
        return Fault.OVERLOADED if crowded else Fault.NONE, left

    def _plain(self, answer: Mapping[str, Any]) -> web.Response:
        return web.Response(body=json_bytes(answer), content_type="application/json")


def _told(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Record.__slots__}


def _key(request: web.Request) -> str:
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if request.headers.get(name):
            return request.headers[name]
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip() or request.query.get(
        "key", ""
    )


def _with_message(refusal: Refusal, message: str) -> Refusal:
    error = refusal.body.get("error")
    if isinstance(error, dict):
        error["message"] = message
    return refusal


class RunningSimulator:
    """A simulator that listens. An async context manager; leaving it closes every connection."""

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        log: TextIO | None = None,
    ) -> None:
        self.simulator = Simulator(scenario or Scenario(), log=log)
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
