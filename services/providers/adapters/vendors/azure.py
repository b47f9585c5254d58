"""Azure OpenAI and Azure AI Foundry. An endpoint brings its resource's address, up to what is appended here.

* v1: `https://RESOURCE.openai.azure.com/openai/v1`, wire formats `openai_chat` or `openai_responses`.
* dated: `https://RESOURCE.openai.azure.com/openai/deployments/DEPLOYMENT` with `azure_chat_dated`.
* Foundry models: `https://RESOURCE.services.ai.azure.com/models` with `azure_models`.
"""

from dataclasses import replace

from services.providers.adapters.access import KeyHeader
from services.providers.adapters.vendors.openai import DIALECT as OPENAI
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.adapters.wire.openai_dialect import Dialect
from services.providers.adapters.wire.openai_responses import OpenAIResponses
from services.providers.ports import Vendor

DATED = "2024-10-21"
FOUNDRY = "2024-05-01-preview"
DIALECT = replace(OPENAI, user="user")

VENDOR = Vendor(
    name="azure",
    base_url="",
    access=KeyHeader("api-key"),
    formats={
        "openai_chat": OpenAIChat(DIALECT, provider="azure"),
        "openai_responses": OpenAIResponses(DIALECT, provider="azure"),
        "azure_chat_dated": OpenAIChat(
            DIALECT,
            provider="azure",
            path=f"/chat/completions?api-version={DATED}",
            embeddings_path=f"/embeddings?api-version={DATED}",
            name="azure_chat_dated",
        ),
        "azure_models": OpenAIChat(
            Dialect(),
            provider="azure",
            path=f"/chat/completions?api-version={FOUNDRY}",
            embeddings_path=f"/embeddings?api-version={FOUNDRY}",
            name="azure_models",
        ),
    },
    credential_variables=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
)
