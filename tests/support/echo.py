"""A tiny service with all four kinds of RPC, to try the chassis with. Its messages are google.protobuf.StringValue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from services.chassis.app import App, Runtime
from services.chassis.auth import Authenticator, ServiceTokens, anyone
from services.chassis.call import current_call
from services.chassis.run import run
from services.chassis.server import Registration
from services.chassis.service_settings import ServiceSettings
from services.kernel.errors import InvalidRequest, StoreUnavailable

SERVICE = "turnpike.test.v1.EchoService"


class EchoStub:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        path = f"/{SERVICE}"
        codec: Any = {
            "request_serializer": StringValue.SerializeToString,
            "response_deserializer": StringValue.FromString,
        }
        self.Say = channel.unary_unary(f"{path}/Say", **codec)
        self.Count = channel.unary_stream(f"{path}/Count", **codec)
        self.Join = channel.stream_unary(f"{path}/Join", **codec)
        self.Chat = channel.stream_stream(f"{path}/Chat", **codec)
        self.Later = channel.unary_unary(f"{path}/Later", **codec)


def add_EchoServicer_to_server(servicer: "EchoServicer", server: Any) -> None:
    """As the gRPC plugin generates it."""
    codec: Any = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(servicer.Say, **codec),
        "Count": grpc.unary_stream_rpc_method_handler(servicer.Count, **codec),
        "Join": grpc.stream_unary_rpc_method_handler(servicer.Join, **codec),
        "Chat": grpc.stream_stream_rpc_method_handler(servicer.Chat, **codec),
        "Later": grpc.unary_unary_rpc_method_handler(servicer.Later, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


@dataclass
class EchoServicer:
    """Answers with what it hears; some words have an effect."""

    held: int = 0
    """Streams that hold something right now."""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        call = current_call()
        assert call is not None
        match request.value:
            case "who":
                return StringValue(value=call.caller.name)
            case "left":
                return StringValue(value=f"{call.left_s:.3f}")
            case "refuse":
                raise StoreUnavailable("postgres")
            case "invalid":
                raise InvalidRequest.of("value", "must be something else")
            case "crash":
                raise RuntimeError("the secret is hunter2")
            case "hang":
                self.began.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.ended.set()
        return StringValue(value=request.value)

    async def Count(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        self.held += 1
        self.began.set()
        try:
            for number in range(int(request.value)):
                yield StringValue(value=str(number))
            if request.value == "3":
                raise StoreUnavailable("postgres")
        finally:
            self.held -= 1
            self.ended.set()

    async def Join(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        return StringValue(value="".join([request.value async for request in requests]))

    async def Chat(self, requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=request.value.upper())

    def Later(self, request: StringValue, context: Any) -> StringValue:
        raise NotImplementedError  # a plain function, as in a generated base class


@dataclass(frozen=True, kw_only=True)
class EchoSettings(ServiceSettings):
    pass


def echo_app(servicer: EchoServicer | None = None) -> App[EchoSettings]:
    served = servicer or EchoServicer()

    @asynccontextmanager
    async def bootstrap(settings: EchoSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
        tokens = settings.service_tokens
        authenticate: Authenticator = ServiceTokens(tokens) if tokens else anyone
        yield [Registration(add_EchoServicer_to_server, served, authenticate)]

    return App(name="echo", settings=EchoSettings, bootstrap=bootstrap)


if __name__ == "__main__":
    run(echo_app())
