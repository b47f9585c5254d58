"""OpenAI."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_responses import OpenAIResponses
from services.providers.ports import Vendor

DIALECT = Dialect(
    max_tokens="max_completion_tokens",  # max_tokens is refused by the o-series and gpt-5 on
    user="safety_identifier",
    prompt_cache_key=True,
    refusal_back=True,
)

VENDOR = Vendor(
    name="openai",
    base_url="https://api.openai.com/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(DIALECT, provider="openai"),
        "openai_responses": OpenAIResponses(DIALECT, provider="openai"),
    },
    credential_variables=("OPENAI_API_KEY",),
)
