"""The call under way: what every concern, and any code below a servicer, may want to know about it."""

import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType

from services.kernel.errors import DeadlineExceeded


class CallKind(Enum):
    """How requests and responses follow each other."""

    UNARY = auto()
    STREAM = auto()
    """Either side, or both, send several messages."""
    OPERATION = auto()
    """One operation of a batch stream (batch_server.py)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, once that is known. Services subclass it with what they know of their callers."""

    name: str
    """For logs and traces, such as `service:router` or a key's id. Never a secret."""


ANONYMOUS = Caller("anonymous")


@dataclass(slots=True)
class Call:
    """One call, or one operation of a batch."""

    method: str
    """Full name, such as `/turnpike.budget.v1.BudgetService/Hold`."""
    kind: CallKind
    metadata: Mapping[str, str | bytes]
    traceparent: str
    deadline: float | None
    """Moment of `time.monotonic()` when the caller gives up. None: it did not say."""
    caller: Caller = ANONYMOUS
    fields: dict[str, object] = field(default_factory=dict)
    """Facts for the call's log line and span, added by whoever knows them; no prompts, no secrets."""

    @property
    def left_s(self) -> float | None:
        """What is left of the deadline, in seconds, never negative. None: there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def bearer(self) -> str | None:
        """The credential of `authorization: Bearer …`; None if there is none."""
        value = self.metadata.get("authorization")
        if not isinstance(value, str) or value[:7].lower() != "bearer ":
            return None
        return value[7:].strip() or None


class Current:
    """Makes a call the current one for the length of a block."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._token: Token[Call | None] | None = None

    def __enter__(self) -> Call:
        self._token = _current.set(self._call)
        return self._call

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None
        _current.reset(self._token)


_current: ContextVar[Call | None] = ContextVar("call", default=None)


class detached:
    """A block that belongs to no call: no caller's deadline binds what is begun in it, also in tasks started there.

    For what must happen whether or not somebody still waits, such as the settlement of a hold.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _current.set(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._token)


def current_call() -> Call | None:
    """The call that the running code serves; None outside of any."""
    return _current.get()


def timeout_s(operation: str, *, at_most: float, needed: float = 0.0) -> float:
    """How long an outgoing call may take: what is left of the deadline, at most `at_most` seconds.

    Raises DeadlineExceeded(begun=False) when less than `needed` seconds are left: begin nothing that cannot finish.
    """
    call = _current.get()
    left = None if call is None else call.left_s
    if left is None:
        return at_most
    if left <= needed:
        raise DeadlineExceeded(operation, begun=False)
    return min(left, at_most)
