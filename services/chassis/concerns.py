"""The concerns that surround every call, each a small context manager. pipeline.py puts them in order.

All of them serve RPCs of all four kinds and operations inside batch streams alike: they know a Call, not gRPC. They are
plain classes with slots, entered without awaiting, because every call passes each of them: generator-based async ones
cost 4 µs apiece, these under one.
"""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType

import structlog
from prometheus_client import Counter, Histogram

from services.chassis import attributes as names
from services.chassis.call import Call, CallKind, Current
from services.chassis.deadlines import Deadlines
from services.chassis.metrics import CALL_SECONDS, CALLS, CALLS_UNDER_WAY
from services.chassis.tracing import Kind, RemoteParent, Span, Tracer
from services.kernel.errors import Cancelled, DeadlineExceeded, Internal, TurnpikeError
from services.kernel.errors import Category as Status
from services.kernel.ids import IncidentId

log = structlog.get_logger()

# Whose fault it is: these are ours to look into, the others are answers to a caller.
_OURS = frozenset({Status.INTERNAL, Status.UNKNOWN, Status.DATA_LOSS, Status.UNAVAILABLE})


class Traced:
    """A server span around the call, below the caller's, with the call's fields as its attributes."""

    __slots__ = ("_call", "_current", "_span")

    def __init__(self, tracer: Tracer, call: Call) -> None:
        name = call.method[1:]
        parent = RemoteParent.parse(call.traceparent) if call.traceparent else None
        attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name}
        self._call = call
        self._current = Current(call)
        self._span: Span = tracer.span(name, attributes, kind=Kind.SERVER, parent=parent)

    def __enter__(self) -> None:
        self._current.__enter__()
        self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call, attributes = self._call, self._span.attributes
        failure = failure_of(call, error)
        attributes[names.RPC_STATUS] = "OK" if failure is None else failure.category.name
        if failure is not None:
            attributes[names.ERROR_REASON] = failure.reason
        attributes[names.CALLER] = call.caller.name
        for name, value in call.fields.items():
            attributes[name] = value if isinstance(value, str | bool | int | float) else str(value)
        self._span.__exit__(kind, error, traceback)
        self._current.__exit__(kind, error, traceback)


@dataclass(frozen=True, slots=True)
class _Series:
    """The time series of one method, looked up once."""

    seconds: Histogram
    good: Counter


class Observer:
    """Counts and times calls, and writes log lines: of `all` calls, of `failures`, or none (`off`)."""

    def __init__(self, access_log: str) -> None:
        self.access_log = access_log
        self._series: dict[str, _Series] = {}

    def __call__(self, call: Call) -> "_Observed":
        """The concern."""
        return _Observed(self, call)

    def series(self, method: str) -> _Series:
        """The time series of `method`: a closed set, as only methods that exist are served."""
        found = self._series.get(method)
        if found is None:
            found = _Series(CALL_SECONDS.labels(method), CALLS.labels(method, "OK", ""))
            self._series[method] = found
        return found


_under_way: set[int] = set()
CALLS_UNDER_WAY.set_function(lambda: len(_under_way))


class _Observed:
    __slots__ = ("_begun", "_call", "_observer")

    def __init__(self, observer: Observer, call: Call) -> None:
        self._observer = observer
        self._call = call

    def __enter__(self) -> None:
        _under_way.add(id(self._call))
        self._begun = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call, observer = self._call, self._observer
        seconds = time.perf_counter() - self._begun
        _under_way.discard(id(call))
        series = observer.series(call.method)
        series.seconds.observe(seconds)
        failure = failure_of(call, error)
        if failure is None:
            series.good.inc()
        else:
            CALLS.labels(call.method, failure.category.name, failure.reason).inc()
        if observer.access_log == "all" or (failure is not None and observer.access_log == "failures"):
            _access_line(call, failure, seconds)


def _access_line(call: Call, failure: TurnpikeError | None, seconds: float) -> None:
    fields = {
        "method": call.method,
        "caller": call.caller.name,
        "ms": round(seconds * 1000, 2),
        **call.fields,
    }
    if failure is None:
        log.info("call", status="OK", **fields)
        return
    report = log.warning if failure.category in _OURS else log.info
    # An error's facts may have any name, also one of ours: the line's own words win.
    own = {**fields, "status": failure.category.name, "reason": failure.reason, "error": failure.message}
    report("call", **{**failure.log_fields, **own})


class Typed:
    """Lets nothing out but TurnpikeError and cancellation.

    A fault of ours becomes Internal with an id to quote; its text and traceback are in our log alone.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, TurnpikeError):
            call, incident = self._call, IncidentId.new()
            log.error(
                "internal error",
                error_id=incident,
                method=call.method,
                caller=call.caller.name,
                exc_info=error,
            )
            raise Internal(incident) from error


class WithinDeadline:
    """Ends the call at its deadline; a unary call or operation whose caller set none gets `default_s` seconds.

    gRPC cancels handlers at a client's deadline by itself; this is for those without, and for operations in batches.
    An operation that is late already is not begun.
    """

    __slots__ = ("_bucket", "_call", "_cancelling", "_deadlines", "_default_s", "_expired", "_task")

    def __init__(self, deadlines: Deadlines, default_s: float, call: Call) -> None:
        self._deadlines = deadlines
        self._default_s = default_s
        self._call = call
        self._bucket: int | None = None
        self._expired = False

    def __enter__(self) -> None:
        call = self._call
        if call.deadline is None:
            if call.kind is CallKind.STREAM:
                return
            call.deadline = time.monotonic() + self._default_s
        elif call.kind is not CallKind.OPERATION:
            return
        if call.deadline <= time.monotonic():
            raise DeadlineExceeded(call.method, begun=False)
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._bucket = self._deadlines.add(call.deadline, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bucket is None:
            return
        self._deadlines.remove(self._bucket, self._expire)
        # Ours alone becomes an error; a cancellation from elsewhere goes on as one.
        if (
            self._expired
            and self._task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise DeadlineExceeded(self._call.method, begun=True) from error


def failure_of(call: Call, error: BaseException | None) -> TurnpikeError | None:
    """What a call ended with; None: it ended well. A cancelled call whose deadline has passed was ended by that."""
    if error is None or isinstance(error, TurnpikeError):
        return error
    if isinstance(error, asyncio.CancelledError) and call.left_s == 0:
        return DeadlineExceeded(call.method, begun=True)
    return Cancelled()
