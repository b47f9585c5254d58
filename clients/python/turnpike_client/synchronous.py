"""The client for programs without an event loop."""

import contextlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import TracebackType
from typing import Unpack

import grpc

from turnpike.router.v1 import decision_pb2, router_pb2, router_pb2_grpc
from turnpike_client.answer import Answer, cost_usd
from turnpike_client.channel import OPTIONS, TIMEOUT_S, metadata
from turnpike_client.errors import from_rpc_error
from turnpike_client.request import Options, Prompt, build


class Stream(contextlib.AbstractContextManager["Stream"]):
    """An answer as it comes: iterate for its text. Leaving the block early cancels the call, at the vendor too."""

    def __init__(
        self, events: Iterator[router_pb2.StreamGenerateResponse], cancel: Callable[[], object]
    ) -> None:
        self._events = events
        self._cancel = cancel
        self._outcome: router_pb2.Outcome | None = None
        self.started: router_pb2.GenerationStarted | None = None
        """Who answers; None until the first event."""

    @property
    def outcome(self) -> router_pb2.Outcome:
        """What it took. Raises RuntimeError before the stream has ended."""
        if self._outcome is None:
            raise RuntimeError("the stream has not ended yet")
        return self._outcome

    @property
    def cost_usd(self) -> Decimal | None:
        """What all attempts together cost; as `outcome`, only after the end."""
        return cost_usd(self.outcome)

    def events(self) -> Iterator[router_pb2.StreamGenerateResponse]:
        """Yield the contract's own events: tool calls, reasoning and media are in them."""
        try:
            for event in self._events:
                if event.HasField("started"):
                    self.started = event.started
                elif event.HasField("finished"):
                    self._outcome = event.finished
                yield event
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def __iter__(self) -> Iterator[str]:
        for event in self.events():
            if event.delta.text and event.delta.index == 0:
                yield event.delta.text

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancel()  # nothing happens if it has ended


class Turnpike(contextlib.AbstractContextManager["Turnpike"]):
    """A connection to the router at `address`, as the holder of `key`. Threads may share it.

    `credentials` None speaks plain text, for loopback and private networks.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._channel = (
            grpc.insecure_channel(address, options=OPTIONS)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=OPTIONS)
        )
        self._metadata = metadata(key)
        self._timeout_s = timeout_s
        self.stub = router_pb2_grpc.RouterServiceStub(self._channel)
        """Every RPC of the router; call it with `metadata`, which this client adds by itself otherwise."""

    def generate(self, prompt: Prompt, **options: Unpack[Options]) -> Answer:
        """Ask and wait for the whole answer."""
        try:
            response = self.stub.Generate(
                build(prompt, options), timeout=self._timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return Answer(response.choices, response.outcome)

    def stream(self, prompt: Prompt, **options: Unpack[Options]) -> Stream:
        """Ask and read the answer as it comes. Use it as a context manager."""
        request = router_pb2.StreamGenerateRequest(request=build(prompt, options))
        call = self.stub.StreamGenerate(request, timeout=self._timeout_s, metadata=self._metadata)
        return Stream(call, call.cancel)

    def models(self) -> list[router_pb2.AvailableModel]:
        """Return the models and aliases that the key may use."""
        found: list[router_pb2.AvailableModel] = []
        request = router_pb2.ListModelsRequest()
        while True:
            try:
                page = self.stub.ListModels(request, timeout=self._timeout_s, metadata=self._metadata)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from error
            found += page.models
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def decision(self, decision_id: str, *, timeout_s: float | None = None) -> decision_pb2.Decision:
        """Return why a request went where it went, with every attempt."""
        request = router_pb2.GetDecisionRequest(decision_id=decision_id)
        try:
            response = self.stub.GetDecision(
                request, timeout=timeout_s or self._timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return response.decision

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._channel.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
