"""Checks requests of applications, all faults at once, and turns them into the router's words."""

import hashlib
import math
import re
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration

from services.kernel.errors import FieldViolation, InvalidRequest
from services.kernel.ids import RequestId, UserPseudonym
from services.router.convert_features import features_from_pb
from services.router.domain import patterns
from services.router.domain.features import Priority, Strategy, Wishes
from services.router.domain.policy import ATTEMPTS_MAX
from services.router.use_cases.application import Request
from services.router.use_cases.feedback import Verdict
from services.tokens import input_bounds
from turnpike.common.v1 import content_pb2 as content
from turnpike.router.v1 import decision_pb2, router_pb2

MESSAGES_MAX = 10_000
PARTS_MAX = 20_000
"""Of all messages together. Long conversations have hundreds; a million would hold the process up for seconds."""
METADATA_MAX = 16
METADATA_LENGTH_MAX = 64
CHOICES_MAX = 8
STOPS_MAX = 4
OUTPUT_TOKENS_MAX = 10_000_000
"""More than any model gives; a larger figure is a mistake."""
PATTERNS_MAX = 64
WORD_LENGTH_MAX = 64
MODEL_LENGTH_MAX = 264
MODELS_KEPT = 1_024
"""Names of models whose plain wishes are remembered."""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.: ]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What metadata become goes into a ledger that is never changed, and is read by stores that cannot keep U+0000."""

_STRATEGIES = {
    decision_pb2.STRATEGY_UNSPECIFIED: None,
    decision_pb2.STRATEGY_COST: Strategy.COST,
    decision_pb2.STRATEGY_LATENCY: Strategy.LATENCY,
    decision_pb2.STRATEGY_CAPABILITY: Strategy.CAPABILITY,
    decision_pb2.STRATEGY_BALANCED: Strategy.BALANCED,
    decision_pb2.STRATEGY_PINNED: Strategy.PINNED,
    decision_pb2.STRATEGY_WEIGHTED: Strategy.WEIGHTED,
    decision_pb2.STRATEGY_LEARNED: Strategy.LEARNED,
}
_NO_WISHES = router_pb2.RoutingPreferences()


def from_pb_generate(request: router_pb2.GenerateRequest, *, streamed: bool) -> Request:
    """The request, checked and measured. Raises InvalidRequest, which names every field that is wrong."""
    faults = Faults()
    request_id = RequestId(request.request_id) if request.request_id else RequestId.new()
    check_identity(request, faults)
    _check_input(request.input, faults)
    if request.HasField("routing"):
        wishes = _wishes(request.model, request.routing, faults)
    else:
        wishes = _plain_wishes(request.model)
    faults.raise_if_any()
    features, sample = features_from_pb(request.input, streamed=streamed)
    return Request(
        request_id=request_id,
        callers_id=bool(request.request_id),
        wishes=wishes,
        input=request.input,
        metadata=dict(request.metadata) if request.metadata else {},
        user=request.user,
        streamed=streamed,
        features=features,
        instructions=sample.system,
        newest=sample.newest,
        language=sample.language,
        exact_bounds=lambda tokenizers: input_bounds(request.input, tokenizers),
        cache_key=lambda: hash_of(
            b"stream" if streamed else b"unary",
            request.model.encode(),
            request.input.SerializeToString(deterministic=True),
            request.routing.SerializeToString(deterministic=True),
        ),
        content_hash=lambda: hash_of(
            b"stream" if streamed else b"unary", request.SerializeToString(deterministic=True)
        ),
    )


COMMENT_LENGTH_MAX = 500


def from_pb_feedback(request: router_pb2.SubmitFeedbackRequest) -> tuple[Verdict, bytes]:
    """The verdict, and the hash of its content. Raises InvalidRequest."""
    faults = Faults()
    faults.parsed("feedback_id", RequestId.parse, request.feedback_id)
    if not request.decision_id:
        faults.add("decision_id", "is required")
    if len(request.comment) > COMMENT_LENGTH_MAX:
        faults.add("comment", f"has at most {COMMENT_LENGTH_MAX} characters")
    kind = request.WhichOneof("verdict")
    if kind is None:
        faults.add("verdict", "is required: a rating, an edited_share, retried or validated")
    for field in ("rating", "edited_share"):
        if kind == field and not 0.0 <= getattr(request, field) <= 1.0:  # false for NaN, too
            faults.add(field, "is 0 to 1")
    faults.raise_if_any()
    verdict = Verdict.retried()
    if kind == "rating":
        verdict = Verdict.rating(request.rating)
    elif kind == "edited_share":
        verdict = Verdict.edited(request.edited_share)
    elif kind == "validated":
        verdict = Verdict.validated(request.validated)
    elif not request.retried:
        verdict = Verdict.rating(1.0)
    return verdict, hash_of(request.SerializeToString(deterministic=True))


def hash_of(*parts: bytes) -> bytes:
    """A digest of the parts in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


class Faults:
    """Everything that is wrong with a request."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """A field is wrong."""
        self._found.append(FieldViolation(field, description))

    def parsed(self, field: str, parse: "object", text: str) -> None:
        """A field must be something that `parse` takes."""
        try:
            parse(text)  # type: ignore[operator]
        except ValueError as error:
            self.add(field, str(error))

    def raise_if_any(self) -> None:
        """Raises InvalidRequest with all of them."""
        if self._found:
            raise InvalidRequest(tuple(self._found))


def check_identity(request: router_pb2.GenerateRequest | router_pb2.EmbedRequest, faults: Faults) -> None:
    """Checks what every request says of itself: its id, its end user, its model and its names to report by."""
    if request.request_id:
        faults.parsed("request_id", RequestId.parse, request.request_id)
    if request.user:
        faults.parsed("user", UserPseudonym.parse, request.user)
    if len(request.model) > MODEL_LENGTH_MAX:
        faults.add("model", f"has at most {MODEL_LENGTH_MAX} characters")
    _check_metadata(request.metadata, faults)


def _check_metadata(metadata: "object", faults: Faults) -> None:
    if not metadata:
        return
    items = dict(metadata)  # type: ignore[call-overload]
    if len(items) > METADATA_MAX:
        faults.add("metadata", f"has at most {METADATA_MAX} entries")
    for name, value in items.items():
        if not name or len(name) > METADATA_LENGTH_MAX or len(value) > METADATA_LENGTH_MAX:
            faults.add("metadata", f"names and values have 1 to {METADATA_LENGTH_MAX} characters")
            return
        if _CONTROL.search(name) or _CONTROL.search(value):
            faults.add("metadata", "names and values have no control characters")
            return


def _check_input(given: content.GenerationInput, faults: Faults) -> None:
    if not given.messages:
        faults.add("input.messages", "at least one message is required")
    if len(given.messages) > MESSAGES_MAX:
        faults.add("input.messages", f"are at most {MESSAGES_MAX}")
        return
    if sum(len(message.parts) for message in given.messages) > PARTS_MAX:
        faults.add("input.messages", f"have at most {PARTS_MAX} parts in all")
        return
    for index, message in enumerate(given.messages):
        if message.role not in _ROLES:
            faults.add(f"input.messages[{index}].role", "is required: SYSTEM, USER, ASSISTANT or TOOL")
        if not message.parts:
            faults.add(f"input.messages[{index}].parts", "at least one part is required")
        for number, part in enumerate(message.parts):
            if part.WhichOneof("kind") is None:
                faults.add(f"input.messages[{index}].parts[{number}]", "says nothing: set exactly one kind")
    if given.HasField("max_output_tokens") and not 1 <= given.max_output_tokens <= OUTPUT_TOKENS_MAX:
        faults.add("input.max_output_tokens", f"is 1 to {OUTPUT_TOKENS_MAX}")
    if given.HasField("n") and not 1 <= given.n <= CHOICES_MAX:
        faults.add("input.n", f"is 1 to {CHOICES_MAX}")
    if given.HasField("top_logprobs") and not 0 <= given.top_logprobs <= 20:
        faults.add("input.top_logprobs", "is 0 to 20")
    if len(given.stop) > STOPS_MAX:
        faults.add("input.stop", f"has at most {STOPS_MAX} strings")
    if given.HasField("sampling"):
        for name, low, high in _RANGES:
            if given.sampling.HasField(name):  # type: ignore[arg-type]
                value = getattr(given.sampling, name)
                if not low <= value <= high:  # false for NaN, too
                    faults.add(f"input.sampling.{name}", f"is {low} to {high}")
    for index, tool in enumerate(given.tools):
        if not tool.name:
            faults.add(f"input.tools[{index}].name", "is required")


_ROLES = frozenset(content.Role.values()) - {content.ROLE_UNSPECIFIED}
_RANGES = (
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("top_k", 1, 1_000_000),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
)


@lru_cache(maxsize=MODELS_KEPT)
def _plain_wishes(model: str) -> Wishes:
    """Those of a request that names a model, or none, and wishes nothing else."""
    return Wishes(model=model)


def _wishes(model: str, given: router_pb2.RoutingPreferences, faults: Faults) -> Wishes:
    quality_min = given.quality_min if given.HasField("quality_min") else None
    if quality_min is not None and not 0.0 <= quality_min <= 1.0:
        faults.add("routing.quality_min", "is 0 to 1")
    cost_max = None
    if given.HasField("cost_max"):
        cost_max = given.cost_max.nanos
        if given.cost_max.currency_code not in ("", "USD"):
            faults.add("routing.cost_max.currency_code", "only USD is taken")
        if cost_max < 0:
            faults.add("routing.cost_max.nanos", "is not negative")
    if not 0 <= given.attempts_max <= ATTEMPTS_MAX:
        faults.add("routing.attempts_max", f"is 1 to {ATTEMPTS_MAX}, or 0 for the policy's")
    for field, listed in (("allow_models", given.allow_models), ("deny_models", given.deny_models)):
        if len(listed) > PATTERNS_MAX:
            faults.add(f"routing.{field}", f"has at most {PATTERNS_MAX} patterns")
        for index, pattern in enumerate(listed[:PATTERNS_MAX]):
            wrong = patterns.problem(pattern)
            if wrong:
                faults.add(f"routing.{field}[{index}]", wrong)
    for field, word in (("task", given.task), ("route", given.route), ("data_class", given.data_class)):
        if word and (len(word) > WORD_LENGTH_MAX or not _WORD.fullmatch(word)):
            faults.add(
                f"routing.{field}",
                f"is up to {WORD_LENGTH_MAX} letters, digits, spaces or `-_.:`, and begins with a letter or digit",
            )
    if given.strategy not in _STRATEGIES:
        faults.add("routing.strategy", "is not a strategy of this version")
    return Wishes(
        model=model,
        strategy=_STRATEGIES.get(given.strategy),
        priority=Priority.BACKGROUND
        if given.priority == decision_pb2.PRIORITY_BACKGROUND
        else Priority.INTERACTIVE,
        task=given.task,
        route=given.route,
        quality_min=quality_min,
        cost_nanos_max=cost_max,
        ttft_s_max=_seconds(given, "time_to_first_token_max", faults),
        allow_models=tuple(given.allow_models),
        deny_models=tuple(given.deny_models),
        data_class=given.data_class,
        regions=frozenset(given.regions),
        attempts_max=given.attempts_max or None,
        continue_on_other_model=given.continue_on_other_model,
        hedge_after_s=_seconds(given, "hedge_after", faults),
        lower_output_cap=given.lower_output_cap,
        cascade=given.cascade,
        use_cache=given.use_cache,
    )


def _seconds(given: router_pb2.RoutingPreferences, field: str, faults: Faults) -> float | None:
    if not given.HasField(field):  # type: ignore[arg-type]
        return None
    duration: Duration = getattr(given, field)
    seconds = duration.seconds + duration.nanos / 1e9
    if not math.isfinite(seconds) or seconds <= 0:
        faults.add(f"routing.{field}", "is longer than nothing")
    return seconds
