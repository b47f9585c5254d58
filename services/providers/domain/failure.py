"""How an attempt fails, and what follows from it for the router and for the budget."""

from dataclasses import dataclass, replace
from typing import Final

from turnpike.common.v1 import error_pb2, usage_pb2
from turnpike.providers.v1 import providers_pb2

Reason = error_pb2.ErrorReason
RetryClass = error_pb2.RetryClass
ChargeRule = providers_pb2.ChargeRule

MESSAGE_CHARACTERS_MAX: Final = 2_000
"""Vendors' error texts are cut here: some repeat the whole request."""

RETRY_CLASS: Final[dict[Reason.ValueType, RetryClass.ValueType]] = {
    Reason.ERROR_REASON_VENDOR_RATE_LIMITED: RetryClass.RETRY_CLASS_SAME_ENDPOINT,
    Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED: RetryClass.RETRY_CLASS_OTHER_CREDENTIAL,
    Reason.ERROR_REASON_VENDOR_OVERLOADED: RetryClass.RETRY_CLASS_SAME_ENDPOINT,
    Reason.ERROR_REASON_VENDOR_ERROR: RetryClass.RETRY_CLASS_SAME_ENDPOINT,
    Reason.ERROR_REASON_VENDOR_UNREACHABLE: RetryClass.RETRY_CLASS_SAME_ENDPOINT,
    Reason.ERROR_REASON_VENDOR_TIMEOUT: RetryClass.RETRY_CLASS_SAME_ENDPOINT,
    Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED: RetryClass.RETRY_CLASS_OTHER_CREDENTIAL,
    Reason.ERROR_REASON_VENDOR_MODEL_NOT_FOUND: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: RetryClass.RETRY_CLASS_LARGER_CONTEXT,
    Reason.ERROR_REASON_CONTENT_FILTERED: RetryClass.RETRY_CLASS_NEVER,
    Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST: RetryClass.RETRY_CLASS_NEVER,
    Reason.ERROR_REASON_UNSUPPORTED_PARAMETER: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED: RetryClass.RETRY_CLASS_SAME_ENDPOINT,
    Reason.ERROR_REASON_CREDENTIAL_MISSING: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_ENDPOINT_RESTING: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_CANCELLED: RetryClass.RETRY_CLASS_NEVER,
    Reason.ERROR_REASON_DEADLINE_EXCEEDED: RetryClass.RETRY_CLASS_NEVER,
    Reason.ERROR_REASON_INVALID_REQUEST: RetryClass.RETRY_CLASS_NEVER,
    Reason.ERROR_REASON_MODEL_NOT_FOUND: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_REQUEST_TOO_LARGE: RetryClass.RETRY_CLASS_LARGER_CONTEXT,
    Reason.ERROR_REASON_OVERLOADED: RetryClass.RETRY_CLASS_OTHER_MODEL,
    Reason.ERROR_REASON_INTERNAL: RetryClass.RETRY_CLASS_OTHER_MODEL,
}
"""What may help after each reason, unless the failure knows better (an over-sized 429 never fits the same endpoint)."""


@dataclass(slots=True)
class Failure:
    """One attempt's failure. `charge` is None until the attempt knows whether bytes had left and what was counted."""

    reason: Reason.ValueType
    message: str
    retry_class: RetryClass.ValueType | None = None
    """None: the reason's own, from RETRY_CLASS."""
    retry_after_s: float | None = None
    """The vendor's hint. None: it gave none."""
    http_status: int | None = None
    """None: there was no answer."""
    vendor_code: str = ""
    vendor_request_id: str = ""
    parameter: str = ""
    """The parameter the model cannot take, where that is the reason."""
    phase: str = ""
    callers_deadline: bool = False
    """It ended because its caller had no more time. Whether that was enough, the caller knows; the endpoint is not
    blamed."""
    """For timeouts: connect, first_token, idle or total."""
    charge: ChargeRule.ValueType | None = None
    usage: usage_pb2.Usage | None = None
    """What the vendor reported or we counted. None: unknown."""
    vendor_cost_nanos: int | None = None
    nothing_sent: bool = False
    """True if certainly no byte of the request had left."""

    def __post_init__(self) -> None:
        if len(self.message) > MESSAGE_CHARACTERS_MAX:
            self.message = self.message[:MESSAGE_CHARACTERS_MAX] + "…"

    @property
    def retry(self) -> RetryClass.ValueType:
        """What may help; never unspecified."""
        if self.retry_class is not None:
            return self.retry_class
        return RETRY_CLASS.get(self.reason, RetryClass.RETRY_CLASS_NEVER)


class AttemptError(Exception):
    """Raised wherever an attempt turns out to have failed; carries the failure as a value."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failed(reason: Reason.ValueType, message: str) -> AttemptError:
    """The common case: a reason and a sentence."""
    return AttemptError(Failure(reason, message))


def unsupported(parameter: str, vendor_model: str) -> AttemptError:
    """The model cannot take `parameter`, and the caller wants a refusal rather than to have it dropped."""
    return AttemptError(
        Failure(
            Reason.ERROR_REASON_UNSUPPORTED_PARAMETER,
            f"{vendor_model} cannot take `{parameter}`.",
            parameter=parameter,
            charge=ChargeRule.CHARGE_RULE_NOTHING,
        )
    )


def truncated(message: str = "The vendor's stream ended before its end.") -> AttemptError:
    """A stream that ended without the event that ends it."""
    return failed(Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED, message)


def unreadable(message: str) -> AttemptError:
    """An answer that is not what the vendor's wire format promises."""
    return failed(Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR, message)


def with_facts(failure: Failure, **facts: object) -> Failure:
    """A copy with more facts."""
    return replace(failure, **facts)  # type: ignore[arg-type]
