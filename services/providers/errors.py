"""The providers service's errors: one for every way an attempt fails, whose reason is a fact of the attempt."""

from dataclasses import dataclass
from typing import Final

from services.kernel.errors import Category, TurnpikeError
from services.providers.domain.failure import Failure, Reason

CATEGORIES: Final[dict[Reason.ValueType, Category]] = {
    Reason.ERROR_REASON_INTERNAL: Category.INTERNAL,
    Reason.ERROR_REASON_INVALID_REQUEST: Category.INVALID_ARGUMENT,
    Reason.ERROR_REASON_DEADLINE_EXCEEDED: Category.DEADLINE_EXCEEDED,
    Reason.ERROR_REASON_CANCELLED: Category.CANCELLED,
    Reason.ERROR_REASON_OVERLOADED: Category.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_REQUEST_TOO_LARGE: Category.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_MODEL_NOT_FOUND: Category.NOT_FOUND,
    Reason.ERROR_REASON_VENDOR_RATE_LIMITED: Category.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED: Category.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_VENDOR_OVERLOADED: Category.UNAVAILABLE,
    Reason.ERROR_REASON_VENDOR_ERROR: Category.UNAVAILABLE,
    Reason.ERROR_REASON_VENDOR_UNREACHABLE: Category.UNAVAILABLE,
    Reason.ERROR_REASON_VENDOR_TIMEOUT: Category.DEADLINE_EXCEEDED,
    Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED: Category.FAILED_PRECONDITION,
    Reason.ERROR_REASON_VENDOR_MODEL_NOT_FOUND: Category.NOT_FOUND,
    Reason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: Category.INVALID_ARGUMENT,
    Reason.ERROR_REASON_CONTENT_FILTERED: Category.FAILED_PRECONDITION,
    Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST: Category.INVALID_ARGUMENT,
    Reason.ERROR_REASON_UNSUPPORTED_PARAMETER: Category.INVALID_ARGUMENT,
    Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR: Category.UNAVAILABLE,
    Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED: Category.UNAVAILABLE,
    Reason.ERROR_REASON_CREDENTIAL_MISSING: Category.FAILED_PRECONDITION,
    Reason.ERROR_REASON_ENDPOINT_RESTING: Category.UNAVAILABLE,
}
"""The status of each reason, as error.proto says it."""


@dataclass(eq=False)
class AttemptFailedError(TurnpikeError):
    """An attempt failed; AttemptFailed among the details says what follows from it."""

    category: Category  # type: ignore[misc]  # here they are facts: one class for every reason
    reason: str  # type: ignore[misc]
    failure: Failure
    endpoint_id: str
    deltas_sent: int = 0

    @classmethod
    def of(cls, failure: Failure, endpoint_id: str, deltas_sent: int = 0) -> "AttemptFailedError":
        """The error for a settled failure."""
        reason = Reason.Name(failure.reason).removeprefix("ERROR_REASON_")
        return cls(
            CATEGORIES.get(failure.reason, Category.UNKNOWN), reason, failure, endpoint_id, deltas_sent
        )

    @property
    def message(self) -> str:
        return self.failure.message

    @property
    def metadata(self) -> dict[str, str]:
        facts = {
            "endpoint_id": self.endpoint_id,
            "phase": self.failure.phase,
            "parameter": self.failure.parameter,
            "vendor_code": self.failure.vendor_code,
            "vendor_request_id": self.failure.vendor_request_id,
            "http_status": "" if self.failure.http_status is None else str(self.failure.http_status),
        }
        return {name: value for name, value in facts.items() if value}

    @property
    def log_fields(self) -> dict[str, object]:
        return dict(self.metadata)

    @property
    def retry_after_s(self) -> float | None:
        return self.failure.retry_after_s
