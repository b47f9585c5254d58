"""The concerns that surround every call, each a small context manager. pipeline.py puts them in order.

All of them serve RPCs of all four kinds and operations inside batch streams alike: they know a Call, not gRPC.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from services.chassis import attributes as names
from services.chassis.auth import Authenticator
from services.chassis.call import Call, CallKind, Current
from services.chassis.metrics import CALL_SECONDS, CALLS, CALLS_UNDER_WAY
from services.chassis.tracing import Kind, RemoteParent, Tracer
from services.kernel.errors import Cancelled, Category, DeadlineExceeded, Internal, TurnpikeError
from services.kernel.ids import IncidentId

Concern = Callable[[Call], AbstractAsyncContextManager[None]]

log = structlog.get_logger()

# Whose fault it is: these are ours to look into, the others are answers to a caller.
_OURS = frozenset({Category.INTERNAL, Category.UNKNOWN, Category.DATA_LOSS, Category.UNAVAILABLE})


def traced(tracer: Tracer) -> Concern:
    """A server span around the call, below the caller's, and the call's fields as its attributes."""

    @asynccontextmanager
    async def concern(call: Call) -> AsyncIterator[None]:
        attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: call.method[1:]}
        parent = RemoteParent.parse(call.traceparent) if call.traceparent else None
        with Current(call), tracer.span(call.method[1:], attributes, kind=Kind.SERVER, parent=parent) as span:
            status = "OK"
            try:
                yield
            except TurnpikeError as error:
                status = error.category.name
                span.set(names.ERROR_REASON, error.reason)
                raise
            except asyncio.CancelledError:
                status = _why_cancelled(call).category.name
                raise
            finally:
                span.attributes[names.RPC_STATUS] = status
                span.attributes[names.CALLER] = call.caller.name
                for name, value in call.fields.items():
                    span.attributes[name] = (
                        value if isinstance(value, str | bool | int | float) else str(value)
                    )

    return concern


def observed(access_log: str) -> Concern:
    """Counts and times the call, and writes its log line: of `all` calls, of `failures`, or none (`off`)."""

    @asynccontextmanager
    async def concern(call: Call) -> AsyncIterator[None]:
        begun = time.perf_counter()
        CALLS_UNDER_WAY.inc()
        failure: TurnpikeError | None = None
        try:
            yield
        except TurnpikeError as error:
            failure = error
            raise
        except asyncio.CancelledError:
            failure = _why_cancelled(call)
            raise
        finally:
            seconds = time.perf_counter() - begun
            CALLS_UNDER_WAY.dec()
            CALL_SECONDS.labels(call.method).observe(seconds)
            if failure is None:
                CALLS.labels(call.method, "OK", "").inc()
            else:
                CALLS.labels(call.method, failure.category.name, failure.reason).inc()
            if access_log == "all" or (failure is not None and access_log == "failures"):
                _access_line(call, failure, seconds)

    return concern


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
    facts = {name: value for name, value in failure.log_fields.items() if name not in fields}
    report(
        "call", status=failure.category.name, reason=failure.reason, error=failure.message, **fields, **facts
    )


@asynccontextmanager
async def typed(call: Call) -> AsyncIterator[None]:
    """Lets nothing out but TurnpikeError and cancellation.

    A fault of ours becomes Internal with an id to quote; its text and traceback are in our log alone.
    """
    try:
        yield
    except (TurnpikeError, asyncio.CancelledError):
        raise
    except Exception as error:
        incident = IncidentId.new()
        log.exception("internal error", error_id=incident, method=call.method, caller=call.caller.name)
        raise Internal(incident) from error


def within_deadline(default_s: float) -> Concern:
    """Ends the call at its deadline; a unary call whose caller set none gets `default_s` seconds.

    gRPC cancels handlers at the client's deadline by itself; this is for those without, and for operations in batches.
    An operation that is late already is not begun.
    """

    @asynccontextmanager
    async def concern(call: Call) -> AsyncIterator[None]:
        if call.deadline is None:
            if call.kind is CallKind.STREAM:
                yield
                return
            call.deadline = time.monotonic() + default_s
        elif call.kind is CallKind.UNARY or call.kind is CallKind.STREAM:
            yield
            return
        left_s = call.left_s
        assert left_s is not None
        if left_s <= 0:
            raise DeadlineExceeded(call.method, begun=False)
        scope = asyncio.timeout(left_s)
        try:
            async with scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise  # the handler's own
            raise DeadlineExceeded(call.method, begun=True) from error

    return concern


def authenticated(authenticate: Authenticator) -> Concern:
    """Finds out who calls, before the handler runs."""

    @asynccontextmanager
    async def concern(call: Call) -> AsyncIterator[None]:
        call.caller = await authenticate(call)
        yield

    return concern


def _why_cancelled(call: Call) -> TurnpikeError:
    if call.left_s == 0:
        return DeadlineExceeded(call.method, begun=True)
    return Cancelled()
