r"""vLLM: an endpoint brings its address, such as \`http://vllm:8000/v1\`."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="vllm",
    base_url="",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(top_k=True, reasoning_back="reasoning"), provider="vllm")},
    credential_variables=(),
)
