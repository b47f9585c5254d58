"""The providers service in this process, over real gRPC, with endpoints at vendors that a test runs."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chassis.app import Running, serving
from services.chassis.channel import Remote, connect
from services.chassis.settings import Address, Secret
from services.providers.bootstrap import app
from services.providers.settings import ProvidersSettings
from turnpike.common.v1 import content_pb2, principal_pb2
from turnpike.providers.v1 import providers_pb2, providers_pb2_grpc

TOKEN = "tps_test-router"
MODEL = "local/echo"


@dataclass
class Providers:
    """A running service and a stub for it."""

    running: Running
    remote: Remote
    stub: "providers_pb2_grpc.ProviderServiceAsyncStub"


@asynccontextmanager
async def providers(
    folder: Path, endpoints: list[dict[str, Any]], **settings: Any
) -> AsyncIterator[Providers]:
    """Serves the given endpoints until the block ends."""
    file = folder / "endpoints.json"
    file.write_text(json.dumps({"endpoints": endpoints}))
    given = ProvidersSettings(
        listen=Address("127.0.0.1", 0),
        endpoints_file=file,
        service_tokens={"router": Secret(TOKEN)},
        access_log="off",
        **settings,
    )
    async with (
        serving(app, given) as running,
        connect("providers", str(running.address), token=TOKEN) as remote,
    ):
        yield Providers(running, remote, providers_pb2_grpc.ProviderServiceStub(remote.channel))


def endpoint(base_url: str, **more: Any) -> dict[str, Any]:
    """An endpoint of MODEL."""
    return {
        "model": MODEL,
        "base_url": base_url,
        "wire_format": "openai_chat",
        "vendor_model": "echo-1",
        **more,
    }


def attempt(text: str = "hello", **more: Any) -> providers_pb2.Attempt:
    """An attempt that says `text` to MODEL."""
    message = content_pb2.Message(
        role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=content_pb2.TextPart(text=text))]
    )
    fields: dict[str, Any] = {
        "key": principal_pb2.AttemptKey(organisation_id="org", request_id="req-1", attempt=1),
        "model": MODEL,
        "max_output_tokens": 64,
        **more,
    }
    return providers_pb2.Attempt(input=content_pb2.GenerationInput(messages=[message]), **fields)


def chat_chunk(**delta: Any) -> bytes:
    """One event of a chat stream."""
    finish = delta.pop("finish_reason", None)
    usage = delta.pop("usage", None)
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta or finish else []
    said = {"id": "chatcmpl-1", "model": "echo-1", "choices": choices, "usage": usage}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def chat_answer(text: str = "hello you") -> bytes:
    """A whole chat completion."""
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "model": "echo-1",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": USAGE,
        }
    ).encode()
