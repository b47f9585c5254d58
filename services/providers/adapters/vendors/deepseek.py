"""DeepSeek."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_responses import OpenAIResponses
from services.providers.ports import Vendor

DIALECT = Dialect(
    seed="",
    user="",
    thinking_switch="thinking",
    reasoning_back="reasoning_content",
    parallel_tools=False,
)

VENDOR = Vendor(
    name="deepseek",
    base_url="https://api.deepseek.com",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(DIALECT, provider="deepseek"),
        "openai_responses": OpenAIResponses(DIALECT, provider="deepseek"),
    },
    credential_variables=("DEEPSEEK_API_KEY",),
)
