"""A router that answers from a script, served for real: for what the clients do with answers and refusals."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from turnpike.common.v1 import content_pb2, error_pb2, money_pb2, usage_pb2
from turnpike.router.v1 import decision_pb2, router_pb2, router_pb2_grpc

KEY = "tpk_scripted"


def refusal(code: int, message: str, reason: str, *details: Message, **facts: str) -> status_pb2.Status:
    """A status as a service of ours answers it."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="turnpike.dev", metadata=facts)
    packed = []
    for detail in (info, *details):
        any_message = PackedAny()
        any_message.Pack(detail)
        packed.append(any_message)
    return status_pb2.Status(code=code, message=message, details=packed)


NO_ROOM = refusal(
    code_pb2.RESOURCE_EXHAUSTED,
    "Budget Demo has $0.01 left of $1.00; this request may cost $0.02.",
    "BUDGET_EXHAUSTED",
    error_pb2.BudgetFailure(
        shortfalls=[
            error_pb2.BudgetShortfall(
                display_name="Demo",
                unit=error_pb2.BUDGET_UNIT_MONEY,
                limit=1_000_000_000,
                asked=20_000_000,
                left=10_000_000,
            )
        ]
    ),
    error_details_pb2.RetryInfo(retry_delay=Duration(seconds=90)),
    budget_id="bud_1",
)


class ScriptedRouter(router_pb2_grpc.RouterServiceServicer):
    """Repeats the question's words; a question that begins with `!` is answered as the table says."""

    refusals: dict[str, status_pb2.Status] = {
        "!budget": NO_ROOM,
        "!fields": refusal(
            code_pb2.INVALID_ARGUMENT,
            "The request is wrong.",
            "INVALID_REQUEST",
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field="input.stop", description="at most 4")
                ]
            ),
        ),
        "!attempts": refusal(
            code_pb2.UNAVAILABLE,
            "Every attempt failed.",
            "ALL_ATTEMPTS_FAILED",
            error_pb2.AttemptFailures(
                attempts=[error_pb2.AttemptFailure(attempt=1, model="local/a", message="connection refused")]
            ),
        ),
        "!forbidden": refusal(code_pb2.PERMISSION_DENIED, "Not granted.", "MODEL_NOT_ALLOWED"),
    }

    def __init__(self) -> None:
        self.requests: list[router_pb2.GenerateRequest] = []
        self.cancelled = asyncio.Event()

    async def Generate(
        self, request: router_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> router_pb2.GenerateResponse:
        text = await self._take(request, context)
        message = content_pb2.Message(
            role=content_pb2.ROLE_ASSISTANT, parts=[content_pb2.Part(text=content_pb2.TextPart(text=text))]
        )
        return router_pb2.GenerateResponse(
            choices=[content_pb2.Choice(message=message)], outcome=outcome(request.request_id)
        )

    async def StreamGenerate(
        self, request: router_pb2.StreamGenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[router_pb2.StreamGenerateResponse]:
        text = await self._take(request.request, context)
        started = router_pb2.GenerationStarted(model="local/b", request_id=request.request.request_id)
        yield router_pb2.StreamGenerateResponse(started=started)
        for word in text.split():
            yield router_pb2.StreamGenerateResponse(delta=content_pb2.ChoiceDelta(text=f"{word} "))
        if text == "wait":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        if text == "break":
            await context.abort_with_status(rpc_status.to_status(self.refusals["!attempts"]))
        yield router_pb2.StreamGenerateResponse(finished=outcome(request.request.request_id))

    async def GetDecision(
        self, request: router_pb2.GetDecisionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> router_pb2.GetDecisionResponse:
        candidates = [
            decision_pb2.Candidate(model="local/b", utility=0.9),
            decision_pb2.Candidate(
                model="local/a", excluded_by="health", excluded_reason="it does not answer"
            ),
        ]
        return router_pb2.GetDecisionResponse(
            decision=decision_pb2.Decision(decision_id=request.decision_id, candidates=candidates)
        )

    async def ListModels(
        self, request: router_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> router_pb2.ListModelsResponse:
        if not request.page_token:
            first = router_pb2.AvailableModel(model="local/a")
            return router_pb2.ListModelsResponse(models=[first], next_page_token="more")
        return router_pb2.ListModelsResponse(models=[router_pb2.AvailableModel(model="local/b")])

    async def _take(
        self, request: router_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> str:
        self.requests.append(request)
        if ("authorization", f"Bearer {KEY}") not in (context.invocation_metadata() or ()):
            status = refusal(code_pb2.UNAUTHENTICATED, "A key is needed.", "CREDENTIALS_MISSING")
            await context.abort_with_status(rpc_status.to_status(status))
        text = request.input.messages[-1].parts[0].text.text
        if text in self.refusals:
            await context.abort_with_status(rpc_status.to_status(self.refusals[text]))
        return text


def outcome(request_id: str) -> router_pb2.Outcome:
    """What every answer of the script took: a fallback, so that attempts show."""
    return router_pb2.Outcome(
        request_id=request_id,
        decision_id="dec_1",
        model="local/b",
        usage=usage_pb2.Usage(input_tokens=12, output_tokens=34),
        cost=money_pb2.Money(nanos=12_345),
        reason="The cheapest that answers.",
        attempts=[
            decision_pb2.AttemptRecord(
                attempt=1,
                model="local/a",
                failure=error_pb2.ERROR_REASON_VENDOR_UNREACHABLE,
                message="connection refused",
                cost=money_pb2.Money(nanos=0),
            ),
            decision_pb2.AttemptRecord(attempt=2, model="local/b", cost=money_pb2.Money(nanos=12_345)),
        ],
        budgets=[
            router_pb2.BudgetRemaining(
                display_name="Demo key, daily",
                unit=error_pb2.BUDGET_UNIT_MONEY,
                limit=1_000_000_000,
                left=999_987_655,
            )
        ],
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )


@asynccontextmanager
async def scripted_router() -> AsyncIterator[tuple[str, ScriptedRouter]]:
    """Serve one for a block and yield its address with the servicer."""
    server = grpc.aio.server()
    servicer = ScriptedRouter()
    add: Callable[[ScriptedRouter, grpc.aio.Server], None] = (
        router_pb2_grpc.add_RouterServiceServicer_to_server
    )
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", servicer
    finally:
        await server.stop(None)
