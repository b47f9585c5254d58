"""Ollama, on this machine or another."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.ollama import OllamaChat
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="ollama",
    base_url="http://127.0.0.1:11434",
    access=Bearer(),
    formats={
        "ollama_chat": OllamaChat(),
        "openai_chat": OpenAIChat(path="/v1/chat/completions", embeddings_path="/v1/embeddings"),
    },
    credential_variables=("OLLAMA_API_KEY",),
)
