"""Turns our errors into gRPC statuses and back.

An error leaves as one status with exactly one google.rpc.ErrorInfo (domain `turnpike.dev`, the reason, the facts),
RetryInfo when waiting helps, BadRequest when fields are wrong, and the typed messages that a service registers:

    @details.register
    def to_pb_budget_failure(error: BudgetExhausted) -> list[Message]: ...

A client gets it back as a RemoteError with the same category, reason, metadata and details; raised again it leaves
this service as it came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from services.kernel.errors import (
    Cancelled,
    Category,
    DeadlineExceeded,
    FieldViolation,
    NotImplementedYet,
    OutcomeUnknown,
    ServiceUnavailable,
    TurnpikeError,
)

DOMAIN = "turnpike.dev"
DETAILS_KEY = "grpc-status-details-bin"
# Statuses travel in HTTP/2 headers, which peers limit (8 KiB by default in grpc): facts are cut, never the reason.
METADATA_VALUE_MAX = 512
MESSAGE_MAX = 1024
DETAILS_BYTES_MAX = 6 * 1024

GRPC_CODES = {category: getattr(grpc.StatusCode, category.name) for category in Category}
CATEGORIES = {code: category for category, code in GRPC_CODES.items()}
# What grpc's core says when no connection could be made, so that the request has certainly not left.
_NEVER_SENT = (
    "failed to connect",
    "DNS resolution failed",
    "connections to all backends failing",
    "Name resolution",
)

Detail = TypeVar("Detail", bound=Message)


@singledispatch
def details(error: TurnpikeError) -> Sequence[Message]:
    """Typed messages that travel with an error. Services register their own (`details.register`)."""
    return ()


@dataclass(eq=False)
class RemoteError(TurnpikeError):
    """An error that another service answered with."""

    category: Category  # type: ignore[misc]  # here they are facts: whatever the other side said
    reason: str  # type: ignore[misc]
    service: str
    text: str
    facts: dict[str, str]
    any_details: tuple[AnyMessage, ...] = ()
    """Typed messages beside ErrorInfo, RetryInfo and BadRequest; `detail` unpacks one."""
    wrong: tuple[FieldViolation, ...] = ()
    retry_s: float | None = None

    @property
    def message(self) -> str:
        return self.text

    @property
    def metadata(self) -> dict[str, str]:
        return self.facts

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        return self.wrong

    @property
    def retry_after_s(self) -> float | None:
        return self.retry_s

    def detail(self, kind: type[Detail]) -> Detail | None:
        """The typed message of this kind, if one came with the error."""
        found = kind()
        for packed in self.any_details:
            if packed.TypeName() == kind.DESCRIPTOR.full_name:
                packed.Unpack(found)
                return found
        return None


@dataclass(frozen=True, slots=True)
class GrpcStatus(grpc.Status):
    """What `context.abort_with_status` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


def to_status(error: TurnpikeError) -> Status:
    """The error as google.rpc.Status, within what HTTP/2 headers carry."""
    metadata = {name: value[:METADATA_VALUE_MAX] for name, value in error.metadata.items()}
    status = Status(code=int(error.category), message=error.message[:MESSAGE_MAX])
    optional: list[Message] = []
    if error.retry_after_s is not None:
        optional.append(RetryInfo(retry_delay=_duration(error.retry_after_s)))
    if error.violations:
        wrong = [
            BadRequest.FieldViolation(field=item.field, description=item.description)
            for item in error.violations
        ]
        optional.append(BadRequest(field_violations=wrong))
    optional.extend(details(error))
    status.details.add().Pack(ErrorInfo(domain=DOMAIN, reason=error.reason, metadata=metadata))
    for message in optional:
        status.details.add().Pack(message)
    if isinstance(error, RemoteError):
        status.details.extend(error.any_details)
    while status.ByteSize() > DETAILS_BYTES_MAX and len(status.details) > 1:
        del status.details[-1]
    return status


def to_grpc(error: TurnpikeError) -> GrpcStatus:
    """The error as what ends a gRPC call."""
    status = to_status(error)
    return GrpcStatus(
        GRPC_CODES[error.category], status.message, ((DETAILS_KEY, status.SerializeToString()),)
    )


def error_from_rpc(failure: grpc.RpcError, service: str, method: str = "") -> TurnpikeError:
    """The error behind a failed call to `service`.

    A status that the service itself made keeps its reason, facts and details. One that the transport made becomes
    ServiceUnavailable where the request has certainly not left, OutcomeUnknown where it may have.
    """
    assert isinstance(failure, grpc.aio.AioRpcError)
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return error_from_status(Status.FromString(value), service)
            except DecodeError:
                break
    code, text = failure.code(), failure.details() or ""
    match code:
        case grpc.StatusCode.UNAVAILABLE if any(sign in text for sign in _NEVER_SENT):
            return ServiceUnavailable(service)
        case grpc.StatusCode.UNAVAILABLE:
            return OutcomeUnknown(service)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(method or service, begun=True)
        case grpc.StatusCode.CANCELLED:
            return Cancelled()
        case grpc.StatusCode.UNIMPLEMENTED:
            return NotImplementedYet(method)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "message" in text:
            return RemoteError(Category.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", service, text, {})
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return RemoteError(Category.RESOURCE_EXHAUSTED, "OVERLOADED", service, text, {}, retry_s=0.5)
        case _:
            return RemoteError(CATEGORIES.get(code, Category.UNKNOWN), "INTERNAL", service, text, {})


def error_from_status(status: Status, service: str) -> RemoteError:
    """The error that a google.rpc.Status describes; a status without ErrorInfo has the reason INTERNAL."""
    info, retry, bad = ErrorInfo(reason="INTERNAL"), RetryInfo(), BadRequest()
    retry_s: float | None = None
    others: list[AnyMessage] = []
    for packed in status.details:
        if packed.Is(ErrorInfo.DESCRIPTOR):
            packed.Unpack(info)
        elif packed.Is(RetryInfo.DESCRIPTOR):
            packed.Unpack(retry)
            retry_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif packed.Is(BadRequest.DESCRIPTOR):
            packed.Unpack(bad)
        else:
            others.append(packed)
    return RemoteError(
        Category(status.code),
        info.reason,
        service,
        status.message,
        dict(info.metadata),
        tuple(others),
        tuple(FieldViolation(item.field, item.description) for item in bad.field_violations),
        retry_s,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
