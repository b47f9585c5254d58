"""llama.cpp's own server: an endpoint brings its address, such as `http://127.0.0.1:8080/v1`."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="llamacpp",
    base_url="",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(top_k=True, reasoning_back="reasoning_content", user=""), provider="llamacpp"
        )
    },
    credential_variables=(),
)
