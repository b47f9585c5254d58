"""Amazon Bedrock. Another region is an endpoint with its own address."""

from services.providers.adapters.aws import AwsSigned
from services.providers.adapters.wire.bedrock_anthropic import AnthropicOnBedrock
from services.providers.adapters.wire.bedrock_converse import BedrockConverse
from services.providers.ports import Vendor

VENDOR = Vendor(
    name="bedrock",
    base_url="https://bedrock-runtime.us-east-1.amazonaws.com",
    access=AwsSigned(),
    formats={"bedrock_converse": BedrockConverse(), "bedrock_anthropic": AnthropicOnBedrock()},
    credential_variables=("BEDROCK_CREDENTIAL", "AWS_BEARER_TOKEN_BEDROCK"),
)
