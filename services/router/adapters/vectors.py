"""Asks the providers service for vectors: one RPC an attempt, its end told as that of any other attempt.

When the providers service is away an attempt fails with ServiceUnavailable, never sent. When the connection breaks, or
the attempt is cancelled, nobody knows what the vendor charges: the hold is charged in full, unconfirmed.
"""

import asyncio
from collections.abc import AsyncIterator

from services.chassis.call import detached
from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from services.kernel.errors import DeadlineExceeded, OutcomeUnknown, ServiceUnavailable, TurnpikeError
from services.router.convert_budget import to_pb_key, to_pb_principal
from services.router.ports import Conversation, Dispatch, Texts
from turnpike.common.v1 import error_pb2
from turnpike.providers.v1 import providers_pb2 as pb
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub


class VectorCall:
    """One call for vectors, as the conversation of an attempt: its only event is the last one."""

    def __init__(self, call: "asyncio.Task[pb.EmbedResponse]", dispatch: Dispatch, texts: Texts) -> None:
        self._call = call
        self._dispatch = dispatch
        self._texts = texts
        self._ended = False
        self.last: pb.DispatchEvent | None = None

    @property
    def sent(self) -> bool:
        """False only if the providers service certainly has not got it."""
        call = self._call
        if not call.done() or call.cancelled():
            return True
        return not isinstance(call.exception(), ServiceUnavailable)

    @property
    def received(self) -> int:
        """There is one event."""
        return int(self._ended)

    def cancel(self, reason: str) -> None:
        """Gives the call up; the providers service gives up the vendor's."""
        self._call.cancel(reason)

    def grant_credit(self, deltas: int) -> None:
        """There are none."""

    def close(self) -> None:
        """Gives the call up if it is still under way."""
        self._call.cancel()

    def __aiter__(self) -> AsyncIterator[pb.DispatchEvent]:
        return self

    async def __anext__(self) -> pb.DispatchEvent:
        if self._ended:
            raise StopAsyncIteration
        # Waiting for the task rather than awaiting it: whoever is cancelled here decides what becomes of the call.
        await asyncio.wait((self._call,))
        self._ended = True
        if self._call.cancelled():
            raise OutcomeUnknown("providers")
        error = self._call.exception()
        if error is None:
            self.last = self._finished(self._call.result())
        elif isinstance(error, RemoteError) and (failed := error.detail(pb.AttemptFailed)) is not None:
            self.last = pb.DispatchEvent(failed=failed)
        elif isinstance(error, DeadlineExceeded | RemoteError) and error.reason == "DEADLINE_EXCEEDED":
            self.last = pb.DispatchEvent(failed=self._late())
        else:
            raise error if isinstance(error, TurnpikeError) else OutcomeUnknown("providers") from error
        return self.last

    def _finished(self, response: pb.EmbedResponse) -> pb.DispatchEvent:
        self._texts.embedded(self._dispatch.key.attempt, response.embeddings)
        finished = pb.AttemptFinished(
            usage=response.usage,
            endpoint_id=response.endpoint_id,
            vendor_request_id=response.vendor_request_id,
        )
        if response.HasField("vendor_cost"):
            finished.vendor_cost.CopyFrom(response.vendor_cost)
        return pb.DispatchEvent(finished=finished)

    def _late(self) -> pb.AttemptFailed:
        return pb.AttemptFailed(
            reason=error_pb2.ERROR_REASON_VENDOR_TIMEOUT,
            message="The vendor did not answer in time.",
            retry_class=error_pb2.RETRY_CLASS_OTHER_MODEL,
            charge=pb.CHARGE_RULE_FULL,
            endpoint_id=self._dispatch.endpoint_id,
            phase="total",
        )


class RemoteVectorModels:
    """The `VectorModels` port over ProviderService.Embed."""

    def __init__(self, providers: Remote) -> None:
        self._providers = providers
        self._stub = ProviderServiceStub(providers.channel)

    async def embedding(self, dispatch: Dispatch, texts: Texts) -> Conversation:
        """Begins an attempt."""
        request = pb.EmbedRequest(
            key=to_pb_key(dispatch.key),
            principal=to_pb_principal(dispatch.caller),
            model=dispatch.model,
            texts=texts.texts,
            endpoint_id=dispatch.endpoint_id,
        )
        if texts.dimensions is not None:
            request.dimensions = texts.dimensions
        patience_s = (dispatch.connect_timeout_s or 0.0) + (dispatch.first_token_timeout_s or 0.0)
        timeout_s = min(dispatch.time_left_s, patience_s or dispatch.time_left_s)
        # Detached: the attempt's patience bounds it, and whoever waits for it says when to give it up.
        with detached():
            call = asyncio.create_task(
                self._providers.unary(self._stub.Embed, request, timeout_s=timeout_s), name="embed"
            )
        return VectorCall(call, dispatch, texts)
