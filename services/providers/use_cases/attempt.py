"""One attempt, from the contract's words to the vendor's and back. It is never sent twice.

Whatever happens, it ends with an answer and its usage, or with a Failure whose charge is settled; a cancelled attempt
leaves the settled failure in `failure` for whoever speaks for it then (the witness, or Dispatch).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from google.protobuf.duration_pb2 import Duration

from services.kernel.clock import Clock
from services.providers.domain.charge import Progress, settle
from services.providers.domain.endpoint import EndpointSpec, forbidden_content_url
from services.providers.domain.failure import (
    AttemptError,
    Failure,
    Reason,
    RetryClass,
    failed,
    unreadable,
    unsupported,
)
from services.providers.domain.rate_limits import rate_limits
from services.providers.domain.usage import UsageSource, completed, is_complete
from services.providers.ports import (
    Answer,
    Call,
    Credential,
    DeltaSink,
    Exchange,
    Http,
    HttpRequest,
    Secrets,
    StreamParser,
    Vendor,
    WireFormat,
)
from services.providers.use_cases.bodies import (
    ERROR_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    Whole,
    is_stream,
    read_answer,
)
from services.providers.use_cases.counting import count_of
from services.providers.use_cases.deltas import Produced, as_deltas
from services.providers.use_cases.endpoints import EndpointBook
from turnpike.common.v1 import content_pb2, usage_pb2
from turnpike.providers.v1 import providers_pb2

REQUEST_BYTES_MAX: Final = 48 << 20
"""Of a request's JSON: pictures grow by a third as base64. Vendors refuse above 20 to 100 MB."""
IDLE_SLACK: Final = 0.1
"""Silence is noticed this share of the idle time late, so that the timer is not set anew for each token."""

_OVERDUE: Final = {
    "connect": "No connection to the vendor could be made in time.",
    "first_token": "The vendor did not begin to answer in time.",
    "idle": "The vendor fell silent in the middle of its answer.",
    "total": "The vendor did not finish its answer in time.",
}


@dataclass(frozen=True, slots=True)
class Resources:
    """What attempts share."""

    book: EndpointBook
    http: Http
    secrets: Secrets
    vendor_named: Callable[[str], Vendor]
    format_of: Callable[[str, str], WireFormat | None]
    clock: Clock


class AttemptRun:
    """One run of one attempt. `run` may be called once."""

    def __init__(
        self, attempt: providers_pb2.Attempt, sink: DeltaSink, resources: Resources, timeout_s: float
    ) -> None:
        self.attempt = attempt
        self.endpoint_id = ""
        self.failure: Failure | None = None
        """How it failed, once it has; also set when it was cancelled."""
        self.produced = Produced()
        self._sink = sink
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._spec: EndpointSpec | None = None
        self._parser: StreamParser | None = None
        self._sent = False
        self._answered = False
        self._refused = False
        self._phase = "connect"
        self._begun = 0.0
        self._deadline = self._loop.time() + timeout_s  # from here on: writing a large request takes time too
        self._ends_at = self._deadline
        self._first_token_at: float | None = None

    async def run(self) -> providers_pb2.AttemptFinished:
        """The answer. Raises AttemptError with a settled failure; CancelledError after having settled `failure`."""
        try:
            return await self._call()
        except AttemptError as error:
            self.failure = self._settled(error.failure)
            raise
        except asyncio.CancelledError:
            late = self._loop.time() >= self._ends_at  # the caller's deadline was quicker than our own timer
            self.failure = self._settled(self._overdue() if late else _unwanted())
            raise

    async def _call(self) -> providers_pb2.AttemptFinished:
        attempt, resources = self.attempt, self._resources
        spec = self._spec = resources.book.choose(attempt.model, attempt.endpoint_id)
        self.endpoint_id = spec.endpoint_id
        wire_format = resources.format_of(spec.provider, spec.wire_format)
        if wire_format is None:
            raise failed(Reason.ERROR_REASON_INTERNAL, f"Nothing here speaks {spec.wire_format}.")
        request = self._request(spec, wire_format)
        vendor = resources.vendor_named(spec.provider)
        credential = self._credential(spec)
        url = vendor.access.authorise(
            request, spec.base_url + request.path, credential.secret if credential else ""
        )
        with resources.book.call(spec) as outcome:
            try:
                answer = await self._exchange(spec, wire_format, request, url)
            except AttemptError as error:
                if credential is not None and resources.secrets.report(credential, error.failure):
                    # The key rests, and another stands in for it: the endpoint is not to blame.
                    error.failure.retry_class = RetryClass.RETRY_CLASS_OTHER_CREDENTIAL
                else:
                    outcome(error.failure)
                raise
            outcome(None)
            if credential is not None:
                resources.secrets.report(credential, None)
        return self._finished(answer, request.dropped)

    def _request(self, spec: EndpointSpec, wire_format: WireFormat) -> HttpRequest:
        given = self.attempt.input
        problem = forbidden_content_url(given, spec)
        if problem is not None:
            raise unsupported(problem, spec.vendor_model)
        call = Call(
            input=given,
            vendor_model=spec.vendor_model,
            max_output_tokens=self.attempt.max_output_tokens,
            stream=self.attempt.stream,
            provider=spec.provider,
            vendor_user=self.attempt.vendor_user,
        )
        request = wire_format.build(call, spec.profile)
        if len(request.body) > REQUEST_BYTES_MAX:
            raise failed(
                Reason.ERROR_REASON_REQUEST_TOO_LARGE,
                f"The request has {len(request.body)} bytes as JSON; at most {REQUEST_BYTES_MAX} are sent.",
            )
        # A stream is not compressed: each piece would wait for the compressor, and cost CPU on both sides.
        request.headers.setdefault("accept-encoding", "identity" if call.stream else "gzip, deflate")
        return request

    def _credential(self, spec: EndpointSpec) -> Credential | None:
        organisation_id = self.attempt.principal.organisation_id
        credential = self._resources.secrets.choose(spec.provider, organisation_id, spec.credential_id)
        if credential is None and spec.needs_credential:
            raise failed(
                Reason.ERROR_REASON_CREDENTIAL_MISSING,
                f"No usable credential for {spec.provider} is set up; it has none, or all of them rest.",
            )
        return credential

    async def _exchange(
        self, spec: EndpointSpec, wire_format: WireFormat, request: HttpRequest, url: str
    ) -> Answer:
        await self._sink.started(spec.endpoint_id)
        self._begun = self._loop.time()
        self._ends_at = min(self._ends_at, self._begun + spec.timeouts.total_s)
        connect_s = _seconds(self.attempt, "connect_timeout", spec.timeouts.connect_s)
        self._first_token_s = _seconds(self.attempt, "first_token_timeout", spec.timeouts.first_token_s)
        self._idle_s = _seconds(self.attempt, "idle_timeout", spec.timeouts.idle_s)
        scope = asyncio.timeout_at(min(self._ends_at, self._begun + connect_s + self._first_token_s))
        try:
            async with scope:
                sending = self._resources.http.send(
                    request.method,
                    url,
                    request.headers,
                    request.body,
                    connect_timeout_s=connect_s,
                    leaving=self._leaving,
                )
                async with sending as exchange:
                    return await self._answer(exchange, wire_format, scope)
        except TimeoutError as error:
            if not scope.expired():
                raise
            return self._late(error)

    def _leaving(self) -> None:
        self._phase, self._sent = "first_token", True

    async def _answer(self, exchange: Exchange, wire_format: WireFormat, scope: asyncio.Timeout) -> Answer:
        limits = rate_limits(exchange.headers)
        if limits is not None and self._spec is not None:
            self._resources.book.observe(self._spec, limits)
        if exchange.status != 200:
            self._refused = True
            body = await read_answer(exchange, ERROR_BYTES_MAX, cut=True)
            raise wire_format.parse_error(exchange.status, exchange.headers, body)
        self._answered = True
        content_type = exchange.headers.get("content-type", "").lower().lstrip()
        if content_type.startswith("text/html"):
            raise unreadable("The vendor answered with a web page.")
        if self.attempt.stream and not content_type.startswith("application/json"):
            return await self._stream(exchange, wire_format, scope)
        # Also what a vendor that was asked for a stream answers as a whole, be it an answer or an error.
        arrived = None if exchange.ended else partial(self._more, scope)
        body = await read_answer(exchange, RESPONSE_BYTES_MAX, arrived=arrived)
        if self.attempt.stream and is_stream(body):
            return await self._stream(Whole(exchange.headers, body), wire_format, scope)
        try:
            answer = wire_format.parse_response(exchange.headers, body)
        except AttemptError:
            self._refused = True
            raise
        if self.attempt.stream:
            self._first_token_at = self._loop.time()
            for choice in answer.choices:
                await self._emit(as_deltas(choice), scope)
            answer.choices = []
        return answer

    def _more(self, scope: asyncio.Timeout, data: bytes) -> None:
        """A piece of a whole answer is there, so more is to come before it could be idle.

        A head alone is no answer, nor are blanks: some vendors send both at once, to keep the connection while they
        think. Whoever is silent behind them is late when one would be who has sent nothing.
        """
        if data.isspace():
            return
        self._phase = "idle"
        until = self._loop.time() + self._idle_s
        if until > (scope.when() or 0.0):
            scope.reschedule(min(self._ends_at, until))

    async def _stream(self, exchange: Exchange, wire_format: WireFormat, scope: asyncio.Timeout) -> Answer:
        parser = self._parser = wire_format.stream_parser(exchange.headers)
        time, feed, read = self._loop.time, parser.feed, exchange.read
        slack_s = self._idle_s * IDLE_SLACK
        rescheduled_at = spoke_at = 0.0
        while not parser.complete:
            try:
                data = await read()
            except AttemptError as error:
                return self._cut_short(parser, error)
            if not data:
                break
            deltas = feed(data)
            if deltas:
                if self._first_token_at is None:
                    self._first_token_at, self._phase = time(), "idle"
                self.produced.take(deltas)
                if not self._sink.put(deltas):
                    await self._wait_for_reader(scope)
                    rescheduled_at = 0.0
            now = time()
            if now > rescheduled_at + slack_s:
                if deltas:
                    spoke_at = now
                elif now > spoke_at + self._first_token_s:
                    continue  # pings stand for life, but not for longer than a first token may take
                rescheduled_at = now
                scope.reschedule(min(self._ends_at, now + self._idle_s + slack_s))
        exchange.satisfied = True
        try:
            return parser.close()
        except AttemptError:
            self._refused = True
            raise

    async def _emit(self, deltas: list[content_pb2.ChoiceDelta], scope: asyncio.Timeout) -> None:
        self.produced.take(deltas)
        if not self._sink.put(deltas):
            await self._wait_for_reader(scope)

    async def _wait_for_reader(self, scope: asyncio.Timeout) -> None:
        """It is the reader who is slow now, not the vendor."""
        scope.reschedule(self._ends_at)
        await self._sink.ready()

    def _cut_short(self, parser: StreamParser, error: AttemptError) -> Answer:
        """The connection broke. If all had been said by then, it does not matter."""
        try:
            return parser.close()
        except AttemptError as closing:
            error.failure.usage = closing.failure.usage
            error.failure.vendor_request_id = closing.failure.vendor_request_id
            raise error from None

    def _late(self, error: TimeoutError) -> Answer:
        late = AttemptError(self._overdue())
        if self._parser is not None:
            return self._cut_short(self._parser, late)
        raise late from error

    def _overdue(self) -> Failure:
        now = self._loop.time()
        if now >= self._ends_at:
            self._phase = "total"
        return Failure(
            Reason.ERROR_REASON_VENDOR_TIMEOUT,
            _OVERDUE[self._phase],
            phase=self._phase,
            callers_deadline=now >= self._deadline,
        )

    def _settled(self, failure: Failure) -> Failure:
        """The failure with its charge; what was counted by then is counted now, in the rare case that it matters."""
        if failure.charge is not None:
            return failure
        if failure.usage is None and self._parser is not None:
            failure.usage = self._parser.usage_so_far()
        progress = Progress(
            sent=self._sent and not failure.nothing_sent,
            answered=self._answered,
            output_counted=self.produced.any,
            vendor_refused=self._refused,
        )
        return settle(failure, progress, self._counted(progress))

    def _counted(self, progress: Progress) -> usage_pb2.Usage:
        if not progress.sent or not progress.answered or self._spec is None:
            return usage_pb2.Usage()
        return usage_pb2.Usage(
            input_tokens=count_of(self.attempt.input, self._spec.tokenizer, self._spec.vendor_model),
            output_tokens=self.produced.count(self._spec.tokenizer, self._spec.vendor_model),
            source=UsageSource.USAGE_SOURCE_ESTIMATED,
        )

    def _finished(self, answer: Answer, dropped: Sequence[str]) -> providers_pb2.AttemptFinished:
        assert self._spec is not None
        ended = self._loop.time()
        usage = answer.usage
        if not is_complete(usage):
            # Some servers tell none, or half of it. The answer is here in whole, so it is counted.
            for choice in answer.choices:
                self.produced.take(as_deltas(choice))
            usage = completed(usage, self._counted(Progress(True, True, True, False)))
        finished = providers_pb2.AttemptFinished(
            choices=answer.choices,
            usage=usage,
            endpoint_id=self._spec.endpoint_id,
            vendor_request_id=answer.vendor_request_id,
            vendor_model=answer.vendor_model,
            dropped_parameters=dropped,
        )
        fill_duration(finished.duration, ended - self._begun)
        if self._first_token_at:
            # An answer that came whole says nothing of its first token; its end in that place would mislead.
            fill_duration(finished.time_to_first_token, self._first_token_at - self._begun)
        if answer.vendor_cost_nanos is not None:
            finished.vendor_cost.nanos = answer.vendor_cost_nanos
            finished.vendor_cost.currency_code = "USD"
        return finished


def _unwanted() -> Failure:
    return Failure(Reason.ERROR_REASON_CANCELLED, "The caller no longer wants the answer.")


def _seconds(attempt: providers_pb2.Attempt, field: str, otherwise: float) -> float:
    if not attempt.HasField(field):  # type: ignore[arg-type]
        return otherwise
    wanted: Duration = getattr(attempt, field)
    return max(0.001, wanted.seconds + wanted.nanos / 1e9)


def fill_duration(duration: Duration, seconds: float) -> None:
    """Writes seconds into a Duration, never negative."""
    duration.seconds, duration.nanos = divmod(max(0, round(seconds * 1e9)), 1_000_000_000)
