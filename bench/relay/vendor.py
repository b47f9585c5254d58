"""The vendor of the bench: streams tokens at the pace asked for, each with the moment it was written (monotonic ns)."""

import asyncio
import json
import sys
import time

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)


async def serve(seconds: float) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                asked = json.loads(await reader.readexactly(length))
                tokens_per_second = float(asked["messages"][-1]["content"])
                writer.write(HEAD)
                loop = asyncio.get_running_loop()
                begun = loop.time()
                for number in range(int(tokens_per_second * seconds)):
                    due = begun + number / tokens_per_second
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    event = (
                        b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n'
                        % time.monotonic_ns()
                    )
                    writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(END), END))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1])))
