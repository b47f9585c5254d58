"""What a vendor on a raw socket may do wrong, one script a fault."""

import asyncio
import gzip

from tests.support.providers import chat_answer, chat_chunk
from tests.support.raw_vendor import Connection, Request


async def silence(request: Request, connection: Connection) -> None:
    await connection.until_closed()


async def only_comments(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    for _ in range(200):
        await connection.chunk(b": keep-alive\n\n")
        await asyncio.sleep(0.02)


async def stall(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(chat_chunk(content="one two three"))
    await connection.until_closed()


async def reset(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(chat_chunk(content="one two three"))
    await asyncio.sleep(0.1)  # a reset takes back what has not been read
    connection.reset()


async def reset_before_answer(request: Request, connection: Connection) -> None:
    connection.reset()


async def end_early(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(chat_chunk(content="one two three"))
    await connection.end_stream()


async def garbage(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(chat_chunk(content="one two three") + b'data: {"choices": [}\n\n')
    await connection.until_closed()


async def garbage_whole(request: Request, connection: Connection) -> None:
    await connection.answer(b'{"choices": [')


async def web_page(request: Request, connection: Connection) -> None:
    await connection.answer(
        b"<html>Sign in to the hotel's network</html>", content_type="text/html; charset=utf-8"
    )


async def error_in_200(request: Request, connection: Connection) -> None:
    await connection.answer(b'{"error":{"message":"Overloaded","type":"overloaded_error"}}')


async def error_event_at_first(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(b'data: {"error":{"message":"Rate limit","code":429}}\n\n')
    await connection.end_stream()


async def long_line(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(b"data: ")
    for _ in range(160):
        await connection.chunk(b"x" * 65536)
    await connection.until_closed()


async def redirect(request: Request, connection: Connection) -> None:
    await connection.answer(b"", 302, location="http://127.0.0.1:1/elsewhere")


async def bad_gateway(request: Request, connection: Connection) -> None:
    await connection.answer(b"<html><h1>502 Bad Gateway</h1></html>", 502, content_type="text/html")


async def empty(request: Request, connection: Connection) -> None:
    await connection.answer(b"", content_type="text/event-stream")


async def broken_gzip(request: Request, connection: Connection) -> None:
    await connection.answer(gzip.compress(chat_answer())[:-9] + b"nonsense!", content_encoding="gzip")


async def not_gzip(request: Request, connection: Connection) -> None:
    await connection.answer(b"this was never compressed" * 10, content_encoding="gzip")


async def endless(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    for number in range(10_000):
        await connection.chunk(chat_chunk(content=f"{number} "))
        await asyncio.sleep(0.01)
