"""A mock vendor in OpenAI's chat format that answers at once: `python -m bench.road.upstream [--tokens N]`.

It parses no JSON and allocates next to nothing, so that what is measured is the gateway in front of it. A request whose
body asks for a stream gets N deltas in one write each; any other gets one answer. Prints its port when it listens.
"""

import argparse
import asyncio
import json
from typing import cast

import uvloop

_ANSWER = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "bench",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16},
}


def _chunk(**fields: object) -> bytes:
    base = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "bench",
    }
    return b"data: " + json.dumps(base | fields).encode() + b"\n\n"


def _http(body: bytes, content_type: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Upstream(asyncio.Protocol):
    """One connection; requests on it follow each other."""

    unary = _http(json.dumps(_ANSWER).encode(), "application/json")
    stream: tuple[bytes, ...] = ()
    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of it
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            type(self).served += 1
            if head.startswith(b"GET"):
                self._transport.write(_http(str(Upstream.served).encode(), "text/plain"))
            elif b'"stream":true' in body or b'"stream": true' in body:
                for piece in self.stream:
                    self._transport.write(piece)
            else:
                self._transport.write(self.unary)


def _stream(tokens: int) -> tuple[bytes, ...]:
    deltas = [
        _chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]),
        *(
            _chunk(choices=[{"index": 0, "delta": {"content": " word"}, "finish_reason": None}])
            for _ in range(tokens)
        ),
        _chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        _chunk(
            choices=[],
            usage={"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens},
        ),
        b"data: [DONE]\n\n",
    ]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = [f"{len(delta):x}\r\n".encode() + delta + b"\r\n" for delta in deltas]
    return (head, *pieces, b"0\r\n\r\n")


async def _serve(port: int, tokens: int) -> None:
    Upstream.stream = _stream(tokens)
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.road.upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=100, help="deltas of a streamed answer")
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.tokens))


if __name__ == "__main__":
    main()
