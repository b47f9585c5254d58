"""Calls models at the providers service: attempts in batches over one stream, each with cancellation and credit.

When the providers service is away an attempt fails within half a second with ServiceUnavailable, never sent; when the
stream breaks afterwards it fails with OutcomeUnknown, and the providers service settles it as the witness.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from services.chassis.batch_client import BatchClient, Exchange
from services.chassis.call import detached
from services.chassis.channel import Remote
from services.router.convert_budget import fill_pb_duration, fill_pb_key, fill_pb_principal
from services.router.ports import Conversation, Dispatch
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2 as pb
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub

GRACE_S = 5.0
"""How long after the caller's deadline an attempt may still tell what it cost."""

Client = BatchClient[pb.DispatchOperation, pb.DispatchEvent]


class RemoteConversation:
    """An attempt under way."""

    __slots__ = ("_client", "_exchange")

    def __init__(self, client: Client, exchange: Exchange[pb.DispatchOperation, pb.DispatchEvent]) -> None:
        self._client = client
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[pb.DispatchEvent]:
        return self._exchange

    @property
    def sent(self) -> bool:
        return self._exchange.sent

    @property
    def received(self) -> int:
        return self._exchange.received

    @property
    def last(self) -> pb.DispatchEvent | None:
        return self._exchange.last

    def cancel(self, reason: str) -> None:
        self._exchange.send(pb.DispatchOperation(cancel=pb.CancelAttempt(reason=reason)))

    def grant_credit(self, deltas: int) -> None:
        self._exchange.send(pb.DispatchOperation(credit=pb.GrantCredit(deltas=deltas)))

    def close(self) -> None:
        self._client.leave(self._exchange)


class RemoteModels:
    """The `Models` port over ProviderService.Dispatch."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def begin(self, dispatch: Dispatch) -> Conversation:
        operation = pb.DispatchOperation()
        _fill_attempt(operation.start, dispatch)
        # The caller's deadline does not bind it: at that the router cancels it, and waits a little for what it cost.
        with detached():
            exchange = await self._client.begin(operation, dispatch.time_left_s + GRACE_S, "attempt")
        return RemoteConversation(self._client, exchange)


@asynccontextmanager
async def open_models(providers: Remote) -> AsyncIterator[tuple[RemoteModels, Client]]:
    """The models at `providers`, whose stream is open for the length of the block."""
    stub = ProviderServiceStub(providers.channel)

    def events(response: pb.DispatchResponse) -> Iterable[pb.DispatchEvent]:
        return response.events

    client = Client(
        providers,
        stub.Dispatch,
        pack=lambda operations: pb.DispatchRequest(operations=operations),
        unpack=events,
        is_last=lambda event: event.WhichOneof("event") in ("finished", "failed"),
        cancel=lambda: pb.DispatchOperation(cancel=pb.CancelAttempt(reason="the router left")),
        join=join_deltas,
    )
    async with client:
        yield RemoteModels(client), client


def join_deltas(before: pb.DispatchEvent, after: pb.DispatchEvent) -> bool:
    """Adds a piece of text to the one before it, which nobody has taken yet: what comes together is told together.

    A message to the caller costs many times what joining costs. False: they are not plain text of one choice.
    """
    if before.WhichOneof("event") != "delta" or after.WhichOneof("event") != "delta":
        return False
    first, second = before.delta, after.delta
    if first.index != second.index or not (_is_plain_text(first) and _is_plain_text(second)):
        return False
    first.text += second.text
    return True


def _is_plain_text(delta: content_pb2.ChoiceDelta) -> bool:
    return delta.WhichOneof("delta") == "text" and not delta.finish_reason and not delta.logprobs


def _fill_attempt(attempt: pb.Attempt, dispatch: Dispatch) -> None:
    fill_pb_key(attempt.key, dispatch.key)
    fill_pb_principal(attempt.principal, dispatch.caller)
    attempt.endpoint_id = dispatch.endpoint_id
    attempt.model = dispatch.model
    attempt.input.CopyFrom(dispatch.input)
    attempt.max_output_tokens = dispatch.output_cap
    attempt.stream = dispatch.stream
    attempt.hold_lease = dispatch.lease
    attempt.price_revision = dispatch.price_revision
    attempt.vendor_user = dispatch.vendor_user
    if dispatch.connect_timeout_s is not None:
        fill_pb_duration(attempt.connect_timeout, dispatch.connect_timeout_s)
    if dispatch.first_token_timeout_s is not None:
        fill_pb_duration(attempt.first_token_timeout, dispatch.first_token_timeout_s)
    if dispatch.idle_timeout_s is not None:
        fill_pb_duration(attempt.idle_timeout, dispatch.idle_timeout_s)
