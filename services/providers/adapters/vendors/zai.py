"""Z.ai."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="zai",
    base_url="https://api.z.ai/api/paas/v4",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(
                seed="",
                reasoning_back="reasoning_content",
                reasoning_effort=False,
                thinking_switch="thinking",
                parallel_tools=False,
                logprobs=False,
            ),
            provider="zai",
        )
    },
    credential_variables=("ZAI_API_KEY", "ZHIPUAI_API_KEY"),
)
