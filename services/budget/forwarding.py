"""Passes a unary call on to the replica that owns the organisation, once, as its caller made it."""

from types import TracebackType
from typing import Any, Self

import grpc

from services.chassis.call import current_call
from services.chassis.channel import Remote, connect
from services.chassis.status import error_from_rpc
from services.kernel.errors import TurnpikeError
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub

FORWARDED = "x-turnpike-forwarded"
"""Metadata of a call that was passed on: it is not passed on again."""
REPLICAS_MAX = 64
"""Replicas to which a connection is kept."""


class Forwarder:
    """Connections to other replicas."""

    def __init__(self) -> None:
        self._remotes: dict[str, tuple[Any, Remote]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for opened, _ in self._remotes.values():
            await opened.__aexit__(None, None, None)
        self._remotes.clear()

    def may_forward(self) -> bool:
        """Whether the call under way came from its caller, and not from another replica."""
        call = current_call()
        return call is not None and FORWARDED not in call.metadata

    async def forward(self, address: str, method: str, request: Any) -> Any:
        """The owner's answer to `request`, under the caller's own identity and deadline; its errors are passed on."""
        call = current_call()
        assert call is not None, "a forwarded call is a call"
        remote = await self._remote(address)
        metadata = [(FORWARDED, "1"), ("authorization", str(call.metadata.get("authorization", "")))]
        if call.traceparent:
            metadata.append(("traceparent", call.traceparent))
        stub: Any = BudgetServiceStub(remote.channel)
        try:
            return await getattr(stub, method)(request, timeout=call.left_s, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            error: TurnpikeError = error_from_rpc(failure, "budget", method)
            raise error from failure

    async def _remote(self, address: str) -> Remote:
        known = self._remotes.get(address)
        if known is None:
            if len(self._remotes) >= REPLICAS_MAX:
                opened, _ = self._remotes.pop(next(iter(self._remotes)))
                await opened.__aexit__(None, None, None)
            opened = connect("budget", address)
            known = self._remotes[address] = (opened, await opened.__aenter__())
        return known[1]
