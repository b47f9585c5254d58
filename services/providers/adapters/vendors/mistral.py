"""Mistral."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.domain.tool_ids import NINE
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(
                seed="random_seed",
                user="",
                stream_usage=False,  # usage comes unasked in the last chunk; the option is refused
                tool_required="any",
                tool_ids=NINE,
                prompt_cache_key=True,
                logprobs=False,
                thinking_back=True,
            ),
            provider="mistral",
        )
    },
    credential_variables=("MISTRAL_API_KEY",),
)
