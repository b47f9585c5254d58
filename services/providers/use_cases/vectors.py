"""Embeddings and counts: one small request, one small answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from services.kernel.errors import InvalidRequest
from services.providers.domain.charge import Progress, settle
from services.providers.domain.endpoint import EndpointSpec
from services.providers.domain.failure import AttemptError, ChargeRule, Failure, Reason, failed, unsupported
from services.providers.domain.usage import UsageSource, is_known
from services.providers.errors import AttemptFailedError
from services.providers.ports import BoundsTexts, Call, CountsTokens, Embeds, HttpRequest, Vectors, WireFormat
from services.providers.use_cases.attempt import Resources
from services.providers.use_cases.bodies import ERROR_BYTES_MAX, RESPONSE_BYTES_MAX, read_answer
from services.providers.use_cases.counting import tokenizer_of, tokens_of
from services.tokens import count_input
from turnpike.common.v1 import usage_pb2
from turnpike.providers.v1 import providers_pb2

TEXTS_MAX: Final = 2048
"""As OpenAI has it; others take fewer and say so."""
TIMEOUT_S: Final = 60.0
AT_ONCE: Final = 8
"""Requests under way at the same time for one call, where a model takes few texts at a time (Titan: one)."""

Parsed = TypeVar("Parsed")
Parse = Callable[[Mapping[str, str], bytes], Parsed]


class Small:
    """Sends small requests through the same endpoints, credentials and health as attempts."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def endpoint(self, model: str, endpoint_id: str) -> tuple[EndpointSpec, WireFormat]:
        """A usable endpoint and what it speaks. Raises AttemptError."""
        spec = self._resources.book.choose(model, endpoint_id)
        wire_format = self._resources.format_of(spec.provider, spec.wire_format)
        if wire_format is None:
            raise failed(Reason.ERROR_REASON_INTERNAL, f"Nothing here speaks {spec.wire_format}.")
        return spec, wire_format

    async def ask(
        self,
        spec: EndpointSpec,
        wire_format: WireFormat,
        request: HttpRequest,
        parse: Parse[Parsed],
        organisation_id: str,
    ) -> Parsed:
        """The parsed answer. Raises AttemptError with its charge settled."""
        resources = self._resources
        credential = resources.secrets.choose(spec.provider, organisation_id, spec.credential_id)
        if credential is None and spec.needs_credential:
            raise failed(Reason.ERROR_REASON_CREDENTIAL_MISSING, f"No usable credential for {spec.provider}.")
        access = resources.vendor_named(spec.provider).access
        url = access.authorise(request, spec.base_url + request.path, credential.secret if credential else "")
        refused = sent = False

        def leaving() -> None:
            nonlocal sent
            sent = True

        with resources.book.call(spec) as outcome:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    sending = resources.http.send(
                        request.method,
                        url,
                        request.headers,
                        request.body,
                        connect_timeout_s=spec.timeouts.connect_s,
                        leaving=leaving,
                    )
                    async with sending as exchange:
                        refused = exchange.status != 200
                        body = await read_answer(
                            exchange, ERROR_BYTES_MAX if refused else RESPONSE_BYTES_MAX, cut=refused
                        )
                if refused:
                    raise wire_format.parse_error(exchange.status, exchange.headers, body)
                parsed = parse(exchange.headers, body)
            except TimeoutError as error:
                late = Failure(
                    Reason.ERROR_REASON_VENDOR_TIMEOUT, "The vendor did not answer in time.", phase="total"
                )
                outcome(late)
                raise AttemptError(_settled(late, sent=sent, refused=False)) from error
            except AttemptError as error:
                if credential is None or not resources.secrets.report(credential, error.failure):
                    outcome(error.failure)
                _settled(error.failure, sent=sent, refused=refused)
                raise
            outcome(None)
        return parsed


def _settled(failure: Failure, *, sent: bool, refused: bool) -> Failure:
    progress = Progress(
        sent=sent and not failure.nothing_sent, answered=False, output_counted=False, vendor_refused=refused
    )
    return settle(failure, progress, usage_pb2.Usage())


class Embed:
    """Turns texts into vectors: by one request, or by several where the model takes fewer texts at a time."""

    def __init__(self, small: Small) -> None:
        self._small = small

    async def __call__(self, request: providers_pb2.EmbedRequest) -> providers_pb2.EmbedResponse:
        """One vector per text. Raises AttemptFailedError, InvalidRequest."""
        if not 1 <= len(request.texts) <= TEXTS_MAX:
            raise InvalidRequest.of("texts", f"must hold 1 to {TEXTS_MAX} texts, not {len(request.texts)}")
        endpoint_id = request.endpoint_id
        try:
            spec, wire_format = self._small.endpoint(request.model, request.endpoint_id)
            endpoint_id = spec.endpoint_id
            if not isinstance(wire_format, Embeds):
                raise unsupported("texts", spec.vendor_model)
            made = await self._asked(spec, wire_format, request)
        except AttemptError as error:
            raise AttemptFailedError.of(error.failure, endpoint_id) from error
        usage = made.usage
        if not is_known(usage):
            counted = sum(tokens_of(text, spec.tokenizer, spec.vendor_model) for text in request.texts)
            usage = usage_pb2.Usage(
                input_tokens=counted, output_tokens=0, source=UsageSource.USAGE_SOURCE_ESTIMATED
            )
        response = providers_pb2.EmbedResponse(
            embeddings=made.embeddings,
            usage=usage,
            endpoint_id=endpoint_id,
            vendor_request_id=made.vendor_request_id,
        )
        if made.vendor_cost_nanos is not None:
            response.vendor_cost.nanos = made.vendor_cost_nanos
            response.vendor_cost.currency_code = "USD"
        return response

    async def _asked(
        self, spec: EndpointSpec, wire_format: WireFormat, request: providers_pb2.EmbedRequest
    ) -> Vectors:
        """All vectors, a few requests at a time. If one fails, those beside it are waited for: they cost money."""
        assert isinstance(wire_format, Embeds)
        texts, size = request.texts, TEXTS_MAX
        if isinstance(wire_format, BoundsTexts):
            size = wire_format.texts_max(spec.vendor_model)
        dimensions = request.dimensions if request.HasField("dimensions") else None
        requests = [
            wire_format.build_embed(spec.vendor_model, texts[first : first + size], dimensions)
            for first in range(0, len(texts), size)
        ]
        made: list[Vectors] = []
        for first in range(0, len(requests), AT_ONCE):
            outcomes = await asyncio.gather(
                *(
                    self._small.ask(
                        spec, wire_format, built, wire_format.parse_embed, request.principal.organisation_id
                    )
                    for built in requests[first : first + AT_ONCE]
                ),
                return_exceptions=True,
            )
            made += [outcome for outcome in outcomes if isinstance(outcome, Vectors)]
            lost = [outcome.failure for outcome in outcomes if isinstance(outcome, AttemptError)]
            for outcome in outcomes:
                if isinstance(outcome, AttemptError):
                    _with_what_else_was_charged(outcome.failure, lost)
                    if made:
                        _with_what_was_had(outcome.failure, made)
                if isinstance(outcome, BaseException):
                    raise outcome
        return made[0] if len(made) == 1 else _together(made, size)


def _together(made: Sequence[Vectors], size: int) -> Vectors:
    """Several answers as one: vectors in the order of all texts, sums of what is known of every part."""
    whole = Vectors([], _sum_of_usages(made), vendor_request_id=made[0].vendor_request_id)
    for number, part in enumerate(made):
        for embedding in part.embeddings:
            embedding.index += number * size
            whole.embeddings.append(embedding)
    costs = [part.vendor_cost_nanos for part in made]
    if None not in costs:
        whole.vendor_cost_nanos = sum(cost for cost in costs if cost is not None)
    return whole


def _sum_of_usages(made: Sequence[Vectors]) -> usage_pb2.Usage | None:
    if not all(is_known(part.usage) for part in made):
        return None
    read = sum(part.usage.input_tokens for part in made if part.usage is not None)
    return usage_pb2.Usage(input_tokens=read, output_tokens=0, source=UsageSource.USAGE_SOURCE_VENDOR)


def _with_what_else_was_charged(failure: Failure, beside: Sequence[Failure]) -> None:
    """One failure is told for all that came at once; it costs what the dearest of them does."""
    if any(other.charge == ChargeRule.CHARGE_RULE_FULL for other in beside):
        failure.charge = ChargeRule.CHARGE_RULE_FULL


def _with_what_was_had(failure: Failure, made: Sequence[Vectors]) -> None:
    """The requests before the one that failed are billed, whatever became of it."""
    usage = _sum_of_usages(made)
    if failure.charge == ChargeRule.CHARGE_RULE_FULL or usage is None:
        failure.charge = ChargeRule.CHARGE_RULE_FULL
        return
    usage.input_tokens += failure.usage.input_tokens if failure.usage is not None else 0
    failure.usage, failure.charge = usage, ChargeRule.CHARGE_RULE_USAGE


class CountTokens:
    """Counts a prompt: here, or by asking the vendor where it offers that."""

    def __init__(self, small: Small, tokenizer_named: Callable[[str], str]) -> None:
        self._small = small
        self._tokenizer_named = tokenizer_named

    async def __call__(self, request: providers_pb2.CountTokensRequest) -> providers_pb2.CountTokensResponse:
        """The count. A vendor that cannot be asked raises AttemptFailedError; one without the offer is counted here."""
        if request.ask_vendor:
            asked = await self._ask(request)
            if asked is not None:
                return providers_pb2.CountTokensResponse(
                    estimate=asked, upper_bound=asked, from_vendor=True, method="vendor"
                )
        _, _, vendor_model = request.model.partition("/")
        counted = count_input(request.input, tokenizer_of(self._tokenizer_named(request.model), vendor_model))
        return providers_pb2.CountTokensResponse(
            estimate=counted.estimate, upper_bound=counted.upper_bound, method=counted.method
        )

    async def _ask(self, request: providers_pb2.CountTokensRequest) -> int | None:
        endpoint_id = ""
        try:
            spec, wire_format = self._small.endpoint(request.model, "")
            endpoint_id = spec.endpoint_id
            if not isinstance(wire_format, CountsTokens):
                return None
            call = Call(request.input, spec.vendor_model, None, stream=False, provider=spec.provider)
            built = wire_format.build_count(call, spec.profile)
            return await self._small.ask(spec, wire_format, built, wire_format.parse_count, "")
        except AttemptError as error:
            raise AttemptFailedError.of(error.failure, endpoint_id) from error
