"""Errors that know their facts: the class fixes what kind of failure it is, an instance says what happened.

    @dataclass(eq=False)
    class ModelNotFound(TurnpikeError):
        \"\"\"The caller named a model that the catalogue does not have.\"\"\"

        category = Category.NOT_FOUND
        reason = "MODEL_NOT_FOUND"
        model: ModelRef

        @property
        def message(self) -> str:
            return f"The catalogue has no model {self.model}; ListModels names those it has."

Raised anywhere below a servicer it reaches the client as one gRPC status with one google.rpc.ErrorInfo: `reason` is
the name of a documented `ErrorReason` without its prefix, the facts are its metadata. The chassis does that
(services/chassis/status.py); nothing here knows the wire.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum, IntEnum
from typing import ClassVar

from services.kernel.ids import IncidentId


class Category(IntEnum):
    """What a client may do about an error: the canonical gRPC status codes, by name and number."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong."""

    field: str
    """Path in the request as the proto spells it, such as `input.messages[2].role`."""
    description: str
    """What is wrong and what would be right, as a sentence."""


@dataclass(eq=False)
class TurnpikeError(Exception):
    """Base of every error that may leave a service. Subclass it as a dataclass whose fields are the facts."""

    category: ClassVar[Category]
    """The gRPC status of every instance."""
    reason: ClassVar[str]
    """Name in turnpike.common.v1.ErrorReason, without `ERROR_REASON_`."""

    @property
    def message(self) -> str:
        """A sentence the caller can act on. It must not hold secrets, prompts or internals."""
        raise NotImplementedError(f"{type(self).__name__} has no message")

    @property
    def metadata(self) -> dict[str, str]:
        """The facts as ErrorInfo metadata: every known one, as text. Keys are the fields' names."""
        return {name: _as_text(value) for name, value in self.log_fields.items()}

    @property
    def log_fields(self) -> dict[str, object]:
        """The facts for a log line: every field that is simple and known (None is unknown and left out)."""
        facts = ((fact.name, getattr(self, fact.name)) for fact in fields(self))
        return {
            name: value for name, value in facts if value is not None and not isinstance(value, _COMPOSITE)
        }

    @property
    def retry_after_s(self) -> float | None:
        """When trying again makes sense, in seconds from now. None: the error gives no hint."""
        return None

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The fields at fault, when the request itself is wrong."""
        return ()

    def __str__(self) -> str:
        return self.message


_COMPOSITE = (tuple, list, dict, set, frozenset)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.value) if isinstance(value, Enum) else str(value)


@dataclass(eq=False)
class InvalidRequest(TurnpikeError):
    """Fields of the request are missing, malformed or contradict each other. Trying again changes nothing."""

    category = Category.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"
    wrong: tuple[FieldViolation, ...]

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidRequest":
        """The common case of one wrong field."""
        return cls((FieldViolation(field, description),))

    @property
    def message(self) -> str:
        return "; ".join(f"{violation.field}: {violation.description}" for violation in self.wrong)

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        return self.wrong


@dataclass(eq=False)
class Internal(TurnpikeError):
    """A fault of ours. What it was is in our log under `error_id`, never in the message."""

    category = Category.INTERNAL
    reason = "INTERNAL"
    error_id: IncidentId

    @property
    def message(self) -> str:
        return f"Turnpike failed; quote {self.error_id} to whoever runs it."


@dataclass(eq=False)
class NotImplementedYet(TurnpikeError):
    """The RPC is part of the contract and not built, or turned off in this deployment."""

    category = Category.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"
    rpc: str
    """Its full name, such as `/turnpike.router.v1.RouterService/Embed`."""

    @property
    def message(self) -> str:
        return f"{self.rpc} is not available in this deployment."


@dataclass(eq=False)
class DeadlineExceeded(TurnpikeError):
    """The caller's deadline passed, or too little of it was left to begin."""

    category = Category.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    operation: str
    """What was under way or was not begun, such as `hold`."""
    begun: bool
    """False: nothing was done. True: whether it took effect is not known; ask again with the same id."""

    @property
    def message(self) -> str:
        if self.begun:
            return f"The deadline passed during {self.operation}."
        return f"Too little of the deadline is left for {self.operation}; nothing was begun."


@dataclass(eq=False)
class Cancelled(TurnpikeError):
    """The caller went away."""

    category = Category.CANCELLED
    reason = "CANCELLED"

    @property
    def message(self) -> str:
        return "The caller cancelled."


@dataclass(eq=False)
class ServiceUnavailable(TurnpikeError):
    """Another service of ours could not be reached. Nothing was begun there; trying again is safe."""

    category = Category.UNAVAILABLE
    reason = "SERVICE_UNAVAILABLE"
    service: str
    """Which one, such as `budget`."""

    @property
    def message(self) -> str:
        return f"The {self.service} service cannot be reached at the moment; nothing was begun there."

    @property
    def retry_after_s(self) -> float | None:
        return 1.0


@dataclass(eq=False)
class StoreUnavailable(TurnpikeError):
    """A store (Postgres, or Redis where it is needed) does not answer in time; nothing was decided. Heals by itself."""

    category = Category.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"
    store: str
    """Which one, such as `postgres`."""

    @property
    def message(self) -> str:
        return f"The {self.store} store does not answer at the moment; try again."

    @property
    def retry_after_s(self) -> float | None:
        return 1.0


@dataclass(eq=False)
class OutcomeUnknown(TurnpikeError):
    """The connection was lost after an operation had been sent. Sending it again with the same id is safe."""

    category = Category.UNKNOWN
    reason = "OUTCOME_UNKNOWN"
    service: str
    """Which service was asked, such as `budget`."""

    @property
    def message(self) -> str:
        return (
            f"The connection to the {self.service} service was lost while it worked; whether it was done is not known."
            " Ask again with the same id."
        )


@dataclass(eq=False)
class Overloaded(TurnpikeError):
    """A bound on work under way is reached; nothing was begun."""

    category = Category.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    bound: str
    """Which bound, such as `operations under way on one stream: 4096`."""

    @property
    def message(self) -> str:
        return f"Too much is under way ({self.bound}); nothing was begun, try again later."

    @property
    def retry_after_s(self) -> float | None:
        return 0.5


@dataclass(eq=False)
class RequestTooLarge(TurnpikeError):
    """The request is larger than the service takes."""

    category = Category.RESOURCE_EXHAUSTED
    reason = "REQUEST_TOO_LARGE"
    size_bytes: int
    size_bytes_max: int

    @property
    def message(self) -> str:
        return f"The request has {self.size_bytes} bytes; at most {self.size_bytes_max} are taken."


@dataclass(eq=False)
class CredentialsMissing(TurnpikeError):
    """No key, token or service identity came with the call."""

    category = Category.UNAUTHENTICATED
    reason = "CREDENTIALS_MISSING"
    expected: str
    """What the call should carry, such as `a key (tpk_…)`."""

    @property
    def message(self) -> str:
        return f"Send {self.expected} as metadata `authorization: Bearer …`."


@dataclass(eq=False)
class CredentialsInvalid(TurnpikeError):
    """The key or token is unknown. Nothing says how it is wrong: that would help a guesser."""

    category = Category.UNAUTHENTICATED
    reason = "CREDENTIALS_INVALID"
    expected: str
    """What the call should carry, such as `a key (tpk_…)`."""

    @property
    def message(self) -> str:
        return f"The credential in `authorization` is not valid here; {self.expected} is expected."


@dataclass(eq=False)
class CredentialsRevoked(TurnpikeError):
    """The key or token was revoked."""

    category = Category.UNAUTHENTICATED
    reason = "CREDENTIALS_REVOKED"
    credential_id: str

    @property
    def message(self) -> str:
        return f"{self.credential_id} was revoked."


@dataclass(eq=False)
class CredentialsExpired(TurnpikeError):
    """The key or token has expired."""

    category = Category.UNAUTHENTICATED
    reason = "CREDENTIALS_EXPIRED"
    credential_id: str
    expired_at: datetime

    @property
    def message(self) -> str:
        return f"{self.credential_id} expired at {self.expired_at.isoformat()}."


@dataclass(eq=False)
class PermissionDenied(TurnpikeError):
    """Who calls is known, and may not do this."""

    category = Category.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"
    needed: str
    """The right that is missing, in words, such as `the role organisation admin`."""

    @property
    def message(self) -> str:
        return f"The caller may not do this; it needs {self.needed}."


@dataclass(eq=False)
class PrincipalDisabled(TurnpikeError):
    """The organisation, team, project or user is suspended or archived."""

    category = Category.PERMISSION_DENIED
    reason = "PRINCIPAL_DISABLED"
    subject: str
    """Which one, such as `team:team_01…`."""

    @property
    def message(self) -> str:
        return f"{self.subject} is suspended or archived."


@dataclass(eq=False)
class NotFound(TurnpikeError):
    """There is no such thing, or none the caller may see."""

    category = Category.NOT_FOUND
    reason = "NOT_FOUND"
    kind: str
    """What was looked for, such as `budget`."""
    id: str

    @property
    def message(self) -> str:
        return f"There is no {self.kind} {self.id} that the caller may see."


@dataclass(eq=False)
class AlreadyExists(TurnpikeError):
    """Another thing has this name or id."""

    category = Category.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"
    kind: str
    name: str

    @property
    def message(self) -> str:
        return f"There is another {self.kind} {self.name}."


@dataclass(eq=False)
class EtagMismatch(TurnpikeError):
    """The thing was changed since the caller read it."""

    category = Category.ABORTED
    reason = "ETAG_MISMATCH"
    kind: str
    id: str

    @property
    def message(self) -> str:
        return f"The {self.kind} {self.id} was changed since it was read; read it again, then write."


@dataclass(eq=False)
class PreconditionFailed(TurnpikeError):
    """The thing's state, or what depends on it, does not allow this."""

    category = Category.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"
    why: str
    """A sentence that says what stands in the way."""

    @property
    def message(self) -> str:
        return self.why


@dataclass(eq=False)
class RequestIdReused(TurnpikeError):
    """The request id was used before with other content."""

    category = Category.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"
    request_id: str

    @property
    def message(self) -> str:
        return f"The request id {self.request_id} was used before with other content; every request needs its own."
