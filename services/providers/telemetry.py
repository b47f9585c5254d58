"""What the trace says of an attempt: a client span a vendor call, by the GenAI conventions. Nothing that was said."""

import asyncio
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Histogram

from services.chassis import attributes as names
from services.chassis import tracing
from services.chassis.call import current_call
from services.chassis.metrics import SECONDS
from services.providers.domain.failure import AttemptError, Failure, Reason
from services.providers.use_cases.attempt import AttemptRun
from turnpike.common.v1 import usage_pb2
from turnpike.providers.v1 import providers_pb2

ATTEMPTS: Final = Counter(
    "turnpike_providers_attempts", "Attempts at vendors, by how they ended.", ["provider", "outcome"]
)
FIRST_TOKEN_SECONDS: Final = Histogram(
    "turnpike_providers_first_token_seconds",
    "From the request to the first token.",
    ["provider"],
    buckets=SECONDS,
)
TOKENS: Final = Counter("turnpike_providers_tokens", "Tokens consumed, where known.", ["provider", "kind"])

SERIES_KEPT: Final = 1024
"""Each is found once, not for every attempt."""
_attempts = lru_cache(SERIES_KEPT)(ATTEMPTS.labels)
_first_token_seconds = lru_cache(SERIES_KEPT)(FIRST_TOKEN_SECONDS.labels)
_tokens = lru_cache(SERIES_KEPT)(TOKENS.labels)


async def traced(run: AttemptRun) -> providers_pb2.AttemptFinished:
    """Runs the attempt inside its span. Raises what it raises."""
    attempt = run.attempt
    provider, _, model = attempt.model.partition("/")
    about: dict[str, str | int | bool] = {
        names.GEN_AI_OPERATION: "chat",
        names.GEN_AI_PROVIDER: provider,
        names.GEN_AI_REQUEST_MODEL: model,
        names.GEN_AI_REQUEST_MAX_TOKENS: attempt.max_output_tokens,
        names.GEN_AI_REQUEST_STREAM: attempt.stream,
        names.ORGANISATION_ID: attempt.key.organisation_id,
        names.REQUEST_ID: attempt.key.request_id,
        names.ATTEMPT: attempt.key.attempt,
    }
    call = current_call()
    with tracing.span(f"chat {model}", about, kind=tracing.Kind.CLIENT) as span:
        try:
            finished = await run.run()
        except AttemptError as error:
            _say_failure(span, error.failure, run)
            raise
        except asyncio.CancelledError:
            if run.failure is not None:
                _say_failure(span, run.failure, run)
            raise
        finally:
            span.set(names.ENDPOINT_ID, run.endpoint_id or None)
            if call is not None:
                call.fields[names.ENDPOINT_ID] = run.endpoint_id
        span.set(names.GEN_AI_RESPONSE_MODEL, finished.vendor_model or None)
        span.set(names.GEN_AI_RESPONSE_ID, finished.vendor_request_id or None)
        if finished.HasField("time_to_first_token"):
            first = finished.time_to_first_token
            span.set(names.GEN_AI_TIME_TO_FIRST_CHUNK, first.seconds + first.nanos / 1e9)
            _first_token_seconds(provider).observe(first.seconds + first.nanos / 1e9)
        _attempts(provider, "ok").inc()
        _say_usage(span, finished.usage, provider)
        return finished


def _say_failure(span: tracing.Span, failure: Failure, run: AttemptRun) -> None:
    outcome = Reason.Name(failure.reason).removeprefix("ERROR_REASON_").lower()
    # An attempt that found no endpoint names a provider that may be anything.
    provider = run.attempt.model.partition("/")[0] if run.endpoint_id else ""
    _attempts(provider, outcome).inc()
    span.set(names.ERROR_TYPE, outcome)
    span.set(names.GEN_AI_RESPONSE_ID, failure.vendor_request_id or None)
    if failure.usage is not None:
        _say_usage(span, failure.usage, provider)


def _say_usage(span: tracing.Span, usage: usage_pb2.Usage, provider: str) -> None:
    if usage.HasField("input_tokens"):
        span.set(names.GEN_AI_USAGE_INPUT_TOKENS, usage.input_tokens)
        _tokens(provider, "input").inc(usage.input_tokens)
    if usage.HasField("output_tokens"):
        span.set(names.GEN_AI_USAGE_OUTPUT_TOKENS, usage.output_tokens)
        _tokens(provider, "output").inc(usage.output_tokens)
    if usage.HasField("cache_read_tokens"):
        span.set(names.GEN_AI_USAGE_CACHE_READ_TOKENS, usage.cache_read_tokens)
    if usage.HasField("cache_write_tokens"):
        span.set(names.GEN_AI_USAGE_CACHE_CREATION_TOKENS, usage.cache_write_tokens)
