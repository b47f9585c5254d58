"""What can go wrong, as exceptions: the class says what to do about it, `reason` says exactly what it was."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from turnpike.common.v1 import error_pb2

DETAILS_KEY = "grpc-status-details-bin"


class TurnpikeError(Exception):
    """A call that failed.

    `reason` is a name out of `ErrorReason` without its prefix, such as "BUDGET_EXHAUSTED"; empty if it was not
    Turnpike that answered. `facts` are its figures as text. `status` is the gRPC status. `retry_after_s` is how long
    to wait before it makes sense to try again, None if nobody knows.
    """

    def __init__(
        self,
        message: str,
        *,
        status: grpc.StatusCode,
        reason: str = "",
        facts: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: Mapping[str, str] | None = None,
        shortfalls: Iterable[error_pb2.BudgetShortfall] = (),
        excluded: Iterable[error_pb2.ExcludedCandidate] = (),
        attempts: Iterable[error_pb2.AttemptFailure] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.facts = dict(facts or {})
        self.retry_after_s = retry_after_s
        self.violations = dict(violations or {})
        """Wrong fields of the request by path, each with what is wrong."""
        self.shortfalls = tuple(shortfalls)
        """Budgets without room, the tightest first."""
        self.excluded = tuple(excluded)
        """Models that could or may not take the request, each with the rule and the reason."""
        self.attempts = tuple(attempts)
        """Attempts that failed, in order."""


class InvalidRequest(TurnpikeError):
    """The request is wrong; `violations` names fields. Sending it again does not help."""


class NotAuthenticated(TurnpikeError):
    """The key is missing, unknown, expired or revoked."""


class NotPermitted(TurnpikeError):
    """The key may not do this."""


class NotFound(TurnpikeError):
    """There is no such thing, or the caller may not see it."""


class BudgetExhausted(TurnpikeError):
    """A budget has no room; `shortfalls` says which, how much is left, and when it begins anew."""


class RateLimited(TurnpikeError):
    """Too much at once, by a limit of the tenant's or of the vendor's; `retry_after_s` says when."""


class Unavailable(TurnpikeError):
    """Something needed is out of reach, or every attempt failed (`attempts`). Trying again may help."""


class DeadlineExceeded(TurnpikeError):
    """The answer did not come in time."""


_BY_REASON: dict[str, type[TurnpikeError]] = {"BUDGET_EXHAUSTED": BudgetExhausted}
_BY_STATUS: dict[grpc.StatusCode, type[TurnpikeError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
    grpc.StatusCode.PERMISSION_DENIED: NotPermitted,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def from_rpc_error(error: grpc.RpcError) -> TurnpikeError:
    """Turn a failed call of grpc or grpc.aio into the exception that says what it was."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    status = error.code()
    details = _details(error.trailing_metadata() or ())
    info = _first(details, error_details_pb2.ErrorInfo)
    reason = info.reason if info else ""
    retry = _first(details, error_details_pb2.RetryInfo)
    fields = _first(details, error_details_pb2.BadRequest)
    budget = _first(details, error_pb2.BudgetFailure)
    routing = _first(details, error_pb2.RoutingFailure)
    attempts = _first(details, error_pb2.AttemptFailures)
    kind = _kind(status, reason)
    return kind(
        error.details() or status.name,
        status=status,
        reason=reason,
        facts=info.metadata if info else None,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        violations={each.field: each.description for each in fields.field_violations} if fields else None,
        shortfalls=budget.shortfalls if budget else (),
        excluded=routing.excluded if routing else (),
        attempts=attempts.attempts if attempts else (),
    )


def _kind(status: grpc.StatusCode, reason: str) -> type[TurnpikeError]:
    if status == grpc.StatusCode.RESOURCE_EXHAUSTED and not reason:
        return InvalidRequest  # the transport's own word for a message that is too large
    return _BY_REASON.get(reason) or _BY_STATUS.get(status, TurnpikeError)


def _details(metadata: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break  # a proxy's garbage: the plain status still stands
    return status_pb2.Status()


Detail = TypeVar("Detail", bound=Message)


def _first(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    return None
