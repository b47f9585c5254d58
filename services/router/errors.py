"""How a request can fail in the router, each with what its caller can do about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from services.kernel.errors import Category, FieldViolation, TurnpikeError


@dataclass(frozen=True, slots=True)
class Excluded:
    """A model that was looked at, and the rule that dropped it."""

    model: str
    rule: str
    finding: str


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """How one attempt failed."""

    attempt: int
    model: str
    endpoint_id: str
    reason: str
    """Name of an ErrorReason without its prefix."""
    message: str
    cost_nanos: int | None = None
    """None: not known yet."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One budget that had no room; figures in its unit (nano-USD, tokens, requests, holds)."""

    budget_id: str
    display_name: str
    subject: str
    model_scope: str
    unit: int
    """Number of a BudgetUnit."""
    limit: int
    spent: int
    held: int
    overage: int
    asked: int
    left: int
    resets_at: datetime | None


@dataclass(eq=False)
class ModelNotFound(TurnpikeError):
    """The caller named a model or alias that nobody knows, or that the caller may not even know of."""

    category = Category.NOT_FOUND
    reason = "MODEL_NOT_FOUND"
    model: str

    @property
    def message(self) -> str:
        return f"There is no model or alias {self.model}; ListModels names those there are."


@dataclass(eq=False)
class ModelNotAllowed(TurnpikeError):
    """The named model exists and is not granted to the caller."""

    category = Category.PERMISSION_DENIED
    reason = "MODEL_NOT_ALLOWED"
    model: str
    rule: str
    finding: str
    decision_id: str

    @property
    def message(self) -> str:
        return f"{self.model} may not be used: {self.finding}"


@dataclass(eq=False)
class NoCandidate(TurnpikeError):
    """No model can and may take the request. `excluded` says why of each."""

    category = Category.FAILED_PRECONDITION
    reason = "NO_CANDIDATE"
    decision_id: str
    excluded: tuple[Excluded, ...]
    max_output_tokens_fitting: int | None = None

    @property
    def message(self) -> str:
        if not self.excluded:
            return "There is no model to choose from: none has an endpoint that is set up."
        rules = sorted({item.rule for item in self.excluded})
        first = self.excluded[0]
        return (
            f"None of {len(self.excluded)} models can and may take this request ({', '.join(rules)});"
            f" {first.model}: {first.finding}"
        )


@dataclass(eq=False)
class PolicyDenied(TurnpikeError):
    """A policy forbids the request itself, whatever the model."""

    category = Category.FAILED_PRECONDITION
    reason = "POLICY_DENIED"
    policy: str
    rule: str
    finding: str

    @property
    def message(self) -> str:
        return f"The policy {self.policy} forbids this request: {self.finding}"


@dataclass(eq=False)
class PolicyInvalid(TurnpikeError):
    """A policy document has mistakes; each is named with its line."""

    category = Category.INVALID_ARGUMENT
    reason = "POLICY_INVALID"
    wrong: tuple[FieldViolation, ...]

    @property
    def message(self) -> str:
        return "; ".join(f"{violation.field}: {violation.description}" for violation in self.wrong)

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        return self.wrong


# Statuses of the reasons with which the budget service refuses a hold (protos/turnpike/common/v1/error.proto).
_REFUSALS = {
    "BUDGET_EXHAUSTED": Category.RESOURCE_EXHAUSTED,
    "RATE_LIMITED": Category.RESOURCE_EXHAUSTED,
    "OVERLOADED": Category.RESOURCE_EXHAUSTED,
    "REQUEST_CEILING": Category.INVALID_ARGUMENT,
    "INVALID_REQUEST": Category.INVALID_ARGUMENT,
    "PRICE_UNKNOWN": Category.FAILED_PRECONDITION,
    "NOT_OWNER": Category.FAILED_PRECONDITION,
    "HOLD_ALREADY_SETTLED": Category.FAILED_PRECONDITION,
    "HOLD_NOT_FOUND": Category.NOT_FOUND,
    "NOT_FOUND": Category.NOT_FOUND,
    "HOLD_NOT_YOURS": Category.PERMISSION_DENIED,
    "PERMISSION_DENIED": Category.PERMISSION_DENIED,
    "PRINCIPAL_DISABLED": Category.PERMISSION_DENIED,
    "CREDENTIALS_INVALID": Category.UNAUTHENTICATED,
    "CREDENTIALS_REVOKED": Category.UNAUTHENTICATED,
    "CREDENTIALS_EXPIRED": Category.UNAUTHENTICATED,
    "REQUEST_ID_REUSED": Category.ALREADY_EXISTS,
    "DEADLINE_EXCEEDED": Category.DEADLINE_EXCEEDED,
    "STORE_UNAVAILABLE": Category.UNAVAILABLE,
    "SERVICE_UNAVAILABLE": Category.UNAVAILABLE,
}


_SHORTAGES = frozenset({"BUDGET_EXHAUSTED", "REQUEST_CEILING", "RATE_LIMITED"})

UNIT_MONEY, UNIT_TOKENS = 1, 2
"""Numbers of the BudgetUnits that a cheaper candidate or a lower cap may satisfy."""


@dataclass(eq=False)
class BudgetRefused(TurnpikeError):
    """The budget service refused an operation; the reason, the figures and the text are its own."""

    category: Category  # type: ignore[misc]  # here they are facts: whatever the budget service said
    reason: str  # type: ignore[misc]
    text: str
    facts: dict[str, str]
    shortfalls: tuple[Shortfall, ...] = ()
    retry_s: float | None = None
    excluded: tuple[Excluded, ...] = ()
    """What the router looked at, once it has given up to find something that fits."""
    decision_id: str = ""
    max_output_tokens_fitting: int | None = None

    @classmethod
    def of(
        cls,
        reason: str,
        text: str,
        facts: dict[str, str],
        shortfalls: tuple[Shortfall, ...] = (),
        retry_s: float | None = None,
    ) -> "BudgetRefused":
        """A refusal with the status its reason has; an unknown reason is a precondition that failed."""
        category = _REFUSALS.get(reason, Category.FAILED_PRECONDITION)
        return cls(category, reason, text, facts, shortfalls, retry_s)

    @property
    def message(self) -> str:
        if self.max_output_tokens_fitting:
            return f"{self.text} An output cap of {self.max_output_tokens_fitting} tokens would fit."
        return self.text

    @property
    def metadata(self) -> dict[str, str]:
        facts = dict(self.facts)
        if self.decision_id:
            facts["decision_id"] = self.decision_id
        return facts

    @property
    def retry_after_s(self) -> float | None:
        return self.retry_s

    @property
    def is_shortage(self) -> bool:
        """True if another candidate or a lower cap may fit."""
        return self.reason in _SHORTAGES and bool(self.shortfalls)


@dataclass(eq=False)
class AllAttemptsFailed(TurnpikeError):
    """Every attempt failed before its first token."""

    category = Category.UNAVAILABLE
    reason = "ALL_ATTEMPTS_FAILED"
    decision_id: str
    attempts: tuple[FailedAttempt, ...]
    retry_s: float | None = None

    @property
    def message(self) -> str:
        return f"All {len(self.attempts)} attempts failed: " + _told(self.attempts)

    @property
    def retry_after_s(self) -> float | None:
        return self.retry_s


@dataclass(eq=False)
class StreamInterrupted(TurnpikeError):
    """The stream broke after its first token; what came before stands and is charged."""

    category = Category.UNAVAILABLE
    reason = "STREAM_INTERRUPTED"
    decision_id: str
    attempts: tuple[FailedAttempt, ...]
    deltas: int
    cost_nanos: int | None

    @property
    def message(self) -> str:
        return f"The answer broke off after {self.deltas} pieces: " + _told(self.attempts[-1:])


# Statuses of the reasons for which asking another model would be wrong: the request itself is at fault.
_REJECTIONS: dict[str, Category] = {
    "CONTEXT_LENGTH_EXCEEDED": Category.INVALID_ARGUMENT,
    "CONTENT_FILTERED": Category.FAILED_PRECONDITION,
    "VENDOR_REJECTED_REQUEST": Category.INVALID_ARGUMENT,
    "UNSUPPORTED_PARAMETER": Category.INVALID_ARGUMENT,
    "INVALID_REQUEST": Category.INVALID_ARGUMENT,
    "DEADLINE_EXCEEDED": Category.DEADLINE_EXCEEDED,
    "VENDOR_TIMEOUT": Category.DEADLINE_EXCEEDED,
}


@dataclass(eq=False)
class RequestRejected(TurnpikeError):
    """An attempt failed for what is in the request; no other model was asked, because it would fare alike."""

    category: Category  # type: ignore[misc]  # here they are facts: whatever the vendor said
    reason: str  # type: ignore[misc]
    decision_id: str
    attempts: tuple[FailedAttempt, ...]

    STATUSES: ClassVar[dict[str, Category]] = _REJECTIONS

    @classmethod
    def of(
        cls, decision_id: str, attempts: tuple[FailedAttempt, ...]
    ) -> "RequestRejected | AllAttemptsFailed":
        """The error of a request whose last attempt must not be followed by another."""
        reason = attempts[-1].reason
        category = _REJECTIONS.get(reason)
        if category is None:
            return AllAttemptsFailed(decision_id, attempts)
        return cls(category, reason, decision_id, attempts)

    @property
    def message(self) -> str:
        return _told(self.attempts[-1:])


@dataclass(eq=False)
class RequestInProgress(TurnpikeError):
    """The same request is being worked on; its answer goes to whoever asked first."""

    category = Category.ABORTED
    reason = "REQUEST_IN_PROGRESS"
    request_id: str

    @property
    def message(self) -> str:
        return f"The request {self.request_id} is being worked on; ask again later, with the same id."

    @property
    def retry_after_s(self) -> float | None:
        return 1.0


@dataclass(eq=False)
class RequestAlreadySettled(TurnpikeError):
    """The same request was settled before and its answer is not kept. No vendor is called again for it."""

    category = Category.FAILED_PRECONDITION
    reason = "REQUEST_ALREADY_SETTLED"
    request_id: str
    cost_nanos: int | None
    decision_id: str | None = None

    @property
    def message(self) -> str:
        return (
            f"The request {self.request_id} was settled before and its answer is not kept;"
            " a new answer needs a new id and costs again."
        )


def _told(attempts: tuple[FailedAttempt, ...]) -> str:
    return "; ".join(f"{attempt.model}: {attempt.message} ({attempt.reason})" for attempt in attempts)
