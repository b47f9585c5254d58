"""Recordings as files, and which adapter each belongs to."""

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from services.providers.adapters.registry import format_of
from services.providers.ports import WireFormat

# Families of the recordings → wire formats, where one name fits all vendors.
FORMATS = {
    "openai-chat": "openai_chat",
    "openai-completions": "openai_chat",
    "openai-responses": "openai_responses",
    "openai-embeddings": "openai_chat",
    "anthropic-messages": "anthropic_messages",
    "gemini": "gemini",
    "gemini-embeddings": "gemini",
    "bedrock-converse": "bedrock_converse",
    "bedrock-invoke": "bedrock_anthropic",
    "cohere-v2-chat": "cohere_chat",
    "cohere-embed": "cohere_chat",
    "ollama-native": "ollama_chat",
}
COUNTS = {
    "anthropic": "anthropic_messages",
    "openai": "openai_responses",
    "gemini": "gemini",
    "vertex": "gemini",
}
PROVIDERS = {"bedrock-invoke": "bedrock", "vertex-anthropic": "vertex"}
# Not part of the contract: chat through an API that its vendor has replaced, and classification.
UNSUPPORTED = {
    "cohere-v1-chat": "Cohere has replaced it by v2",
    "moderations": "the contract has no moderation",
}
SUPPORTED = {*FORMATS, "count-tokens"}
# Headers that describe how bytes travelled then, not what they are.
_OF_TRANSPORT = {"content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive"}


@dataclass(frozen=True)
class Recording:
    """One recorded interaction."""

    name: str
    data: dict[str, Any]

    @property
    def family(self) -> str:
        return str(self.data["api_family"])

    @property
    def provider(self) -> str:
        return str(self.data["provider"])

    @property
    def status(self) -> int:
        return int(self.data["response"]["status"] or 200)

    @cached_property
    def body(self) -> bytes:
        response = self.data["response"]
        if response.get("body_base64"):
            return base64.b64decode(response["body_base64"])
        return (response["body"] or "").encode("utf-8", "surrogatepass")

    @property
    def headers(self) -> dict[str, str]:
        return {
            name.lower(): str(value)
            for name, value in self.data["response"]["headers"].items()
            if name.lower() not in _OF_TRANSPORT
        }

    @property
    def streamed(self) -> bool:
        """True if the answer is a stream by its own content type."""
        kind = self.headers.get("content-type", "")
        if self.status != 200 or self.family in ("count-tokens",):
            return False
        if any(word in kind for word in ("event-stream", "ndjson", "eventstream")):
            return True
        body = self.body.lstrip()
        return (
            "json-array-stream" in self.data.get("tags", ())
            or body.startswith((b"data:", b"event:", b":"))
            or (body.startswith(b"[") and "stream" in str(self.data["request"].get("url", "")))
            or b"}\n{" in body
        )

    @cached_property
    def wire_format(self) -> WireFormat | None:
        """The adapter in the vendor's dialect; None if nothing speaks the family."""
        if self.family in UNSUPPORTED:
            return None
        provider = PROVIDERS.get(self.provider, self.provider)
        name = COUNTS.get(self.provider) if self.family == "count-tokens" else FORMATS.get(self.family)
        if self.provider == "vertex-anthropic":
            name = "vertex_anthropic"
        return format_of(provider, name) if name else None


def load(folder: Path) -> list[Recording]:
    """Every recording in `folder`, by name."""
    found = []
    for file in sorted(folder.rglob("*.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(data, dict) and "api_family" in data and "response" in data:
            found.append(Recording(str(file.relative_to(folder)), data))
    return found
