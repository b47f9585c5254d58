"""The four applications. Nothing here knows a vendor, a price or a policy: that is the point of it."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct

from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import decision_pb2, router_pb2
from turnpike_client import AsyncTurnpike, TurnpikeError

DEADLINE_S = 20.0
FEEDBACK_TRIES = 10
FEEDBACK_PAUSE_S = 0.5

CLAUSE = (
    "The supplier shall indemnify the customer against all claims of third parties that arise from a breach of this "
    "agreement, unless the customer has caused the breach by gross negligence or wilful misconduct. "
)
RECORD = "Invoice 4711 of 3 March, Hansen & Sons, Aarhus, 12 pallets at 84.50 each, due in thirty days. "
CODE = "def settle(hold, usage):\n    amount = price(usage)\n    if amount > hold.amount:\n        raise Overrun\n"

SCHEMA = {
    "type": "object",
    "properties": {
        "invoice": {"type": "integer"},
        "customer": {"type": "string"},
        "amount": {"type": "number"},
        "paid": {"type": "boolean"},
    },
    "required": ["invoice", "customer", "amount", "paid"],
}


@dataclass(frozen=True, slots=True)
class Application:
    """One of them: what it asks, and how often."""

    name: str
    title: str
    task: str
    prompt: str
    repeated: int
    """How often the prompt's material is repeated: its length."""
    streams: bool
    share: float
    """Of all requests."""
    output_tokens_max: int = 160
    background: bool = False
    schema: Mapping[str, Any] | None = None

    def request(self, number: int) -> router_pb2.GenerateRequest:
        """The request of that number; its id is also the first word of the prompt, by which the wire knows it."""
        request_id = f"{self.name}-{number:06d}"
        text = f"{request_id} {self.title}. {self.prompt * self.repeated}"
        message = content_pb2.Message(
            role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=content_pb2.TextPart(text=text))]
        )
        given = content_pb2.GenerationInput(messages=[message], max_output_tokens=self.output_tokens_max)
        if self.schema is not None:
            schema = Struct()
            schema.update(self.schema)
            given.output_format.json_schema.schema.CopyFrom(schema)
        priority = decision_pb2.PRIORITY_BACKGROUND if self.background else decision_pb2.PRIORITY_INTERACTIVE
        return router_pb2.GenerateRequest(
            request_id=request_id,
            input=given,
            routing=router_pb2.RoutingPreferences(task=self.task, route=self.name, priority=priority),
        )


APPLICATIONS = (
    Application(
        "legal", "Legal summaries", "summarise", CLAUSE, 16, streams=False, share=0.2, background=True
    ),
    Application("support", "Support chat", "chat", "Where is my order? ", 8, streams=True, share=0.3),
    Application(
        "extraction", "Extraction pipeline", "extract", RECORD, 6, False, 0.3, background=True, schema=SCHEMA
    ),
    Application("code", "Code assistant", "code", CODE, 20, streams=True, share=0.2),
)


@dataclass(slots=True)
class Answered:
    """What an application saw of one request."""

    application: str
    asked_s: float
    """Monotonic."""
    duration_s: float = 0.0
    ttft_s: float | None = None
    model: str = ""
    cost_nanos: int = 0
    attempts: int = 0
    decision_id: str = ""
    reason: str = ""
    failure: str = ""
    grade: float | None = None


Grade = Callable[[str, str, random.Random], float]
"""How good an answer to (task, model) turns out to be, 0 to 1."""


@dataclass(slots=True)
class Client:
    """An application at work: asks in its rhythm, reads the answers, says how good they were."""

    application: Application
    turnpike: AsyncTurnpike
    grade: Grade
    draw: random.Random
    metadata: tuple[tuple[str, str], ...]
    grades_lost: int = 0
    answered: list[Answered] = field(default_factory=list)
    _number: int = 0
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, per_second: float, stopped: asyncio.Event) -> None:
        """Asks at random moments, so many times a second on average, until stopped; then waits for what is open."""
        while not stopped.is_set():
            asking = asyncio.create_task(self._one())
            self._under_way.add(asking)
            asking.add_done_callback(self._under_way.discard)
            try:
                async with asyncio.timeout(self.draw.expovariate(per_second)):
                    await stopped.wait()
            except TimeoutError:
                continue
        await asyncio.gather(*self._under_way)

    async def _one(self) -> None:
        self._number += 1
        request = self.application.request(self._number)
        seen = Answered(self.application.name, time.monotonic())
        self.answered.append(seen)
        try:
            if self.application.streams:
                async with self.turnpike.stream(request) as answer:
                    async for _ in answer:
                        if seen.ttft_s is None:
                            seen.ttft_s = time.monotonic() - seen.asked_s
                    outcome = answer.outcome
            else:
                outcome = (await self.turnpike.generate(request)).outcome
        except TurnpikeError as error:
            seen.failure = f"{error.reason or error.status.name}: {error.message}"
            return
        finally:
            seen.duration_s = time.monotonic() - seen.asked_s
        seen.model, seen.cost_nanos = outcome.model, outcome.cost.nanos
        seen.attempts, seen.decision_id, seen.reason = (
            len(outcome.attempts),
            outcome.decision_id,
            outcome.reason,
        )
        seen.grade = self.grade(self.application.task, outcome.model, self.draw)
        await self._tell(outcome.decision_id, seen.grade)

    async def _tell(self, decision_id: str, grade: float) -> None:
        """Says how good an answer was; another replica may not know of the decision for a moment."""
        request = router_pb2.SubmitFeedbackRequest(
            feedback_id=f"grade-{decision_id}", decision_id=decision_id, rating=grade
        )
        for _ in range(FEEDBACK_TRIES):
            try:
                await self.turnpike.stub.SubmitFeedback(request, timeout=DEADLINE_S, metadata=self.metadata)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(FEEDBACK_PAUSE_S)
        self.grades_lost += 1
