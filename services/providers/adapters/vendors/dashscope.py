"""Alibaba's Model Studio (Qwen), by its OpenAI-shaped address outside of China."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="dashscope",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    access=Bearer(),
    formats={
        "openai_chat": OpenAIChat(
            Dialect(reasoning_effort=False, thinking_switch="enable_thinking", user=""), provider="dashscope"
        )
    },
    credential_variables=("DASHSCOPE_API_KEY",),
)
