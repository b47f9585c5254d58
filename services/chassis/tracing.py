"""Traces: W3C context, spans, head sampling. OpenTelemetry's data model, exported as OTLP (otlp.py).

    with tracing.span("budget.hold", {attributes.HOLD_NANOS: hold.nanos}) as span:
        span.event(attributes.CANDIDATE_DROPPED_EVENT, {…})
        span.set(attributes.COST_NANOS, cost.nanos)

A span that is entered is the parent of spans begun inside it, also across awaits and in tasks started there. It ends
with its block; an exception that leaves the block makes it an error. Ours instead of the SDK because a span costs 2 µs
and its encoding 8 here, 37 and 47 there, and a request has ten of them (docs/decisions/0001-lean-tracing.md).
"""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from services.chassis import attributes as names
from services.kernel.errors import TurnpikeError

AttributeValue = str | bool | int | float | list[str]

EVENTS_PER_SPAN_MAX = 128  # OpenTelemetry's default; further events are counted, not kept
TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_random = random.Random()  # noqa: S311 - ids of traces are no secrets; seeded from the system's entropy


class Kind(IntEnum):
    """What a span is to the call it belongs to; OTLP's numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class RemoteParent:
    """The caller's span, as a traceparent names it."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def parse(cls, traceparent: str) -> "RemoteParent | None":
        """The parent that a W3C `traceparent` names; None if there is none or it is malformed."""
        match = TRACEPARENT.fullmatch(traceparent)
        if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
            return None
        trace_id, span_id = int(match[2], 16), int(match[3], 16)
        return cls(trace_id, span_id, bool(int(match[4], 16) & 1)) if trace_id and span_id else None


class Sink(Protocol):
    """Takes ended spans. Must not block and must not raise; it may drop, and counts what it drops."""

    def take(self, span: "Span") -> None:
        """Takes over an ended span."""
        ...


class Span:
    """One piece of work in a trace. Made by a Tracer or by `span`; ends when its `with` block ends."""

    __slots__ = (
        "_token",
        "attributes",
        "end_ns",
        "error_description",
        "events",
        "events_dropped",
        "kind",
        "name",
        "parent_id",
        "sampled",
        "span_id",
        "start_ns",
        "trace_id",
        "tracer",
    )

    def __init__(
        self,
        tracer: "Tracer",
        name: str,
        attributes: Mapping[str, AttributeValue] | None,
        kind: Kind,
        parent: "Span | RemoteParent | None",
    ) -> None:
        self.tracer = tracer
        self.name = name
        self.kind = kind
        self.attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self.events: list[tuple[str, int, Mapping[str, AttributeValue]]] = []
        self.events_dropped = 0
        self.error_description: str | None = None
        self.span_id = _random.getrandbits(64) or 1
        if parent is None:
            self.trace_id = _random.getrandbits(128) or 1
            self.parent_id = 0
            self.sampled = tracer.samples(self.trace_id)
        else:
            self.trace_id = parent.trace_id
            self.parent_id = parent.span_id
            self.sampled = parent.sampled
        self.start_ns = time.time_ns()
        self.end_ns = 0
        self._token: Token[Span | None] | None = None

    @property
    def traceparent(self) -> str:
        """W3C context that makes a span elsewhere a child of this one."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"

    @property
    def trace_id_hex(self) -> str:
        """The trace's id as people and Jaeger write it."""
        return f"{self.trace_id:032x}"

    def set(self, name: str, value: AttributeValue | None) -> None:
        """Sets an attribute; None is unknown and sets nothing."""
        if value is not None:
            self.attributes[name] = value

    def event(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> None:
        """Adds something that happened at one moment."""
        if len(self.events) < EVENTS_PER_SPAN_MAX:
            self.events.append((name, time.time_ns(), attributes or {}))
        else:
            self.events_dropped += 1

    def fail(self, error: BaseException) -> None:
        """Marks the span as failed. The text of errors that are not ours is not recorded: it may hold anything."""
        if isinstance(error, TurnpikeError):
            self.attributes[names.ERROR_TYPE] = error.reason
            self.error_description = error.message
        else:
            cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
            self.attributes[names.ERROR_TYPE] = "CANCELLED" if cancelled else type(error).__name__
            self.error_description = "cancelled" if cancelled else type(error).__name__

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None
        # ValueError: the block was left in another context than it was entered in, by an async generator that a
        # finaliser closed. That context never saw this span, so there is nothing to restore.
        try:  # noqa: SIM105 - contextlib.suppress takes half as long as the rest of the span
            _current.reset(self._token)
        except ValueError:
            pass
        if error is not None and self.error_description is None:
            self.fail(error)
        self.end()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """A block in which this is the current span; it does not end with it. For spans that overlap one another."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def end(self) -> None:
        """Ends the span and hands it to the sink; later calls do nothing. For spans that were not entered."""
        if self.end_ns:
            return
        self.end_ns = time.time_ns()
        # A failure is worth its span even where sampling chose against the trace.
        if self.tracer.sink is not None and (self.sampled or self.error_description is not None):
            self.tracer.sink.take(self)


_current: ContextVar[Span | None] = ContextVar("span", default=None)


class Tracer:
    """Makes the spans of one service. Without a sink spans exist (for ids in logs and metadata) and go nowhere."""

    def __init__(self, service: str, *, ratio: float = 1.0, sink: Sink | None = None) -> None:
        self.service = service
        self.sink = sink
        self._below = round(ratio * 2**56)

    def samples(self, trace_id: int) -> bool:
        """The head decision, a function of the trace id alone, so that replicas agree (W3C: its last 7 bytes)."""
        return (trace_id & (2**56 - 1)) < self._below

    def span(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: Span | RemoteParent | None = None,
    ) -> Span:
        """A span below `parent`; without one it begins a trace."""
        return Span(self, name, attributes, kind, parent)


_NOWHERE = Tracer("unknown")
_adopted: ContextVar[Tracer] = ContextVar("tracer", default=_NOWHERE)


@contextmanager
def adopted(tracer: Tracer) -> Iterator[None]:
    """Makes `tracer` that of spans begun outside of any span, here and in tasks started inside the block."""
    token = _adopted.set(tracer)
    try:
        yield
    finally:
        # ValueError: the block was left in another context, such as a test fixture's, which never had it.
        with contextlib.suppress(ValueError):
            _adopted.reset(token)


def span(
    name: str, attributes: Mapping[str, AttributeValue] | None = None, *, kind: Kind = Kind.INTERNAL
) -> Span:
    """A span below the current one, of the same service. Outside of any span it begins a trace."""
    parent = _current.get()
    return Span(_adopted.get() if parent is None else parent.tracer, name, attributes, kind, parent)


@contextmanager
def below(traceparents: Iterable[str], name: str, *, kind: Kind = Kind.CONSUMER) -> Iterator[None]:
    """A span in each of several traces for work that is done for all of them at once, such as storing a batch."""
    own = _current.get()
    tracer = _adopted.get() if own is None else own.tracer
    parents = [parent for each in traceparents if (parent := RemoteParent.parse(each)) is not None]
    spans = [Span(tracer, name, None, kind, parent) for parent in parents if parent.sampled]
    try:
        yield
    except BaseException as error:
        for each in spans:
            each.fail(error)
        raise
    finally:
        for each in spans:
            each.end()


def current() -> Span | None:
    """The span whose block the caller is in."""
    return _current.get()


def traceparent() -> str:
    """The current span's W3C context; empty outside of any, and where nobody would ever see the span."""
    found = _current.get()
    return "" if found is None or found.tracer is _NOWHERE else found.traceparent
