"""Together."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="together",
    base_url="https://api.together.xyz/v1",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(top_k=True, logprobs=False), provider="together")},
    credential_variables=("TOGETHER_API_KEY",),
)
