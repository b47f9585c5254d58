"""Scripts of vendors that speak OpenAI's chat completions, well or badly."""

import asyncio
import json
from collections.abc import Mapping

from tests.support.providers import USAGE, chat_answer, chat_chunk
from tests.support.raw_vendor import Connection, Request, Script

WORDS = ("hello", " you")


async def speak(request: Request, connection: Connection) -> None:
    """Answers as it should."""
    if not json.loads(request.body).get("stream"):
        await connection.answer(chat_answer())
        return
    await connection.begin_stream()
    for word in WORDS:
        await connection.chunk(chat_chunk(content=word))
    await connection.chunk(chat_chunk(finish_reason="stop"))
    await connection.chunk(chat_chunk(usage=USAGE) + b"data: [DONE]\n\n")
    await connection.end_stream()


def failing(status: int, body: Mapping[str, object] | None = None, **headers: str) -> Script:
    """Answers with an error."""

    async def script(request: Request, connection: Connection) -> None:
        error = body or {"error": {"message": "no", "type": "server_error"}}
        await connection.answer(json.dumps(error).encode(), status, **headers)

    return script


async def cut(request: Request, connection: Connection) -> None:
    """Says a word and breaks the connection."""
    await connection.begin_stream()
    await connection.chunk(chat_chunk(content="hello"))
    connection.reset()


def stalling(body: bytes) -> Script:
    """Begins an answer in one piece at once, and says no more."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(headers={"content-type": "application/json", "content-length": "1000"})
        if body:
            await connection.write(body)
        await connection.until_closed()

    return script


async def stall(request: Request, connection: Connection) -> None:
    """Takes the request and says nothing."""
    await connection.until_closed()


class Waiting:
    """Says a word, then waits until the other side has gone."""

    def __init__(self) -> None:
        self.spoken = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        await connection.begin_stream()
        await connection.chunk(chat_chunk(content="hello"))
        self.spoken.set()
        await connection.until_closed()
        self.gone.set()


async def embed(request: Request, connection: Connection) -> None:
    """Answers with a vector per text: its length in characters, then its place; two tokens a text."""
    texts = json.loads(request.body)["input"]
    data = [
        {"object": "embedding", "index": number, "embedding": [float(len(text)), float(number)]}
        for number, text in enumerate(texts)
    ]
    tokens = 2 * len(texts)
    answer = {"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    await connection.answer(json.dumps(answer).encode())


def saying(text: str) -> Script:
    """Answers with this text, streamed word by word where that is asked for."""

    async def script(request: Request, connection: Connection) -> None:
        if not json.loads(request.body).get("stream"):
            await connection.answer(chat_answer(text))
            return
        await connection.begin_stream()
        for word in text.split(" "):
            await connection.chunk(chat_chunk(content=f"{word} "))
        await connection.chunk(chat_chunk(finish_reason="stop"))
        await connection.chunk(chat_chunk(usage=USAGE) + b"data: [DONE]\n\n")
        await connection.end_stream()

    return script
