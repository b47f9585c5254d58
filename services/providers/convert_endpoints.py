"""Endpoints between our values and the contract's messages."""

from services.kernel.errors import FieldViolation, InvalidRequest
from services.kernel.model_ref import ModelRef
from services.providers.adapters.registry import format_of, vendor_named
from services.providers.convert import to_pb_endpoint
from services.providers.domain.endpoint import CONCURRENCY_DEFAULT, EndpointSpec, base_url_problem
from turnpike.providers.v1 import providers_admin_pb2


def to_pb_config(spec: EndpointSpec, etag: str = "") -> providers_admin_pb2.EndpointConfig:
    """An endpoint as admins see it."""
    return providers_admin_pb2.EndpointConfig(
        endpoint=to_pb_endpoint(spec),
        model=spec.model,
        base_url=spec.base_url,
        credential_id=spec.credential_id,
        concurrency_max=spec.concurrency_max,
        disabled=spec.disabled,
        etag=etag,
    )


def from_pb_endpoint(config: providers_admin_pb2.EndpointConfig) -> EndpointSpec:
    """A checked endpoint."""
    provider, _, _ = config.model.partition("/")
    vendor = vendor_named(provider)
    return EndpointSpec(
        endpoint_id=config.endpoint.endpoint_id,
        model=config.model,
        provider=provider,
        wire_format=config.endpoint.wire_format,
        base_url=(config.base_url or vendor.base_url).rstrip("/"),
        vendor_model=config.endpoint.vendor_model,
        region=config.endpoint.region,
        weight=config.endpoint.weight if config.endpoint.HasField("weight") else 1.0,
        concurrency_max=config.concurrency_max or CONCURRENCY_DEFAULT,
        credential_id=config.credential_id,
        needs_credential=bool(config.credential_id or vendor.credential_variables),
        disabled=config.disabled,
    )


def check_endpoint(config: providers_admin_pb2.EndpointConfig, *, allow_private_http: bool) -> None:
    """Raises InvalidRequest with every field that is wrong."""
    wrong = []
    provider = ""
    try:
        provider = ModelRef.parse(config.model).provider
    except ValueError as error:
        wrong.append(FieldViolation("endpoint.model", str(error)))
    base_url = config.base_url or (vendor_named(provider).base_url if provider else "")
    problem = base_url_problem(base_url, allow_private_http=allow_private_http)
    if problem is not None:
        wrong.append(FieldViolation("endpoint.base_url", problem))
    spoken = config.endpoint.wire_format
    if spoken and provider and format_of(provider, spoken) is None:
        wrong.append(FieldViolation("endpoint.endpoint.wire_format", f"nothing here speaks {spoken}"))
    if config.concurrency_max < 0:
        wrong.append(FieldViolation("endpoint.concurrency_max", "must not be negative"))
    if config.endpoint.HasField("weight") and not 0 <= config.endpoint.weight < 1e9:
        wrong.append(FieldViolation("endpoint.endpoint.weight", "must be between 0 and a billion"))
    if wrong:
        raise InvalidRequest(tuple(wrong))
