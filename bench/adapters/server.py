"""The bench's vendor: `/<family>/…` answers whole, or piece by piece if a stream is asked for. A process of its own."""

import asyncio
import sys

import uvloop

from bench.adapters.answers import ANSWERS

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def serve(pieces: int) -> None:
    made = {name: answer(pieces) for name, answer in ANSWERS.items()}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.split(b"\r\n")
                length = next(
                    (int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(length)
                path = first.split(b" ")[1].decode()
                whole, stream = made[path.split("/")[1]]
                if b'"stream":true' in body.replace(b" ", b"") or "streamGenerateContent" in path:
                    writer.write(STREAM)
                    for piece in stream:
                        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                        await asyncio.sleep(0)
                    writer.write(b"0\r\n\r\n")
                else:
                    writer.write(WHOLE % len(whole) + whole)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
