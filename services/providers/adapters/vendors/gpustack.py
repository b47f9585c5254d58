"""GPUStack: an endpoint brings its address."""

from services.providers.adapters.access import Bearer
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="gpustack",
    base_url="",
    access=Bearer(),
    formats={"openai_chat": OpenAIChat(Dialect(top_k=True), provider="gpustack")},
    credential_variables=("GPUSTACK_API_KEY",),
)
