"""A bare grpc.aio server that gives back the bytes it gets: the floor of this stack. Prints its port."""

import asyncio

import grpc
import uvloop


async def _echo(request: bytes, context: object) -> bytes:
    return request


async def _echo_stream(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    for _ in range(request[0]):
        await context.write(b"x" * 16)


async def _serve() -> None:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Stream": grpc.unary_stream_rpc_method_handler(_echo_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
