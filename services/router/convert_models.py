"""The list of models on the wire, in pages by name."""

import base64
import binascii

from services.kernel.errors import InvalidRequest
from services.router.use_cases.application import Available
from turnpike.router.v1 import router_pb2 as pb

PAGE_DEFAULT = 100
PAGE_MAX = 1000


def to_pb_models(available: list[Available], request: pb.ListModelsRequest) -> pb.ListModelsResponse:
    """The page that was asked for. Raises InvalidRequest for a size or token that is none."""
    if request.page_size < 0:
        raise InvalidRequest.of("page_size", f"is 1 to {PAGE_MAX}, or 0 for {PAGE_DEFAULT}")
    size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
    after = _after(request.page_token)
    rest = [item for item in available if item.name > after]
    page = rest[:size]
    return pb.ListModelsResponse(
        models=[_available(item) for item in page],
        next_page_token=base64.urlsafe_b64encode(page[-1].name.encode()).decode() if len(rest) > size else "",
    )


def _after(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidRequest.of("page_token", "is not one that this service gave") from None


def _available(item: Available) -> pb.AvailableModel:
    message = pb.AvailableModel(
        model=item.name,
        display_name=item.display_name,
        alias_of=item.alias_of,
        usable=not item.unusable_reason,
        unusable_reason=item.unusable_reason,
    )
    model = item.model
    if model is None:
        return message
    message.capabilities.extend(capability.spelling for capability in model.capabilities)
    if model.context_tokens_max is not None:
        message.context_tokens_max = model.context_tokens_max
    price = item.prices.of(item.name)
    if price is not None:
        base = price.tiers[0]
        if base.input_nanos_per_million is not None:
            message.input_nanos_per_million = base.input_nanos_per_million
        if base.output_nanos_per_million is not None:
            message.output_nanos_per_million = base.output_nanos_per_million
    return message
