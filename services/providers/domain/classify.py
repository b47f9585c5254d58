"""One taxonomy for every vendor's errors: status, code words and message in, reason and retry class out.

A wire format collects the words its vendor uses (`code`, `type`, `status`, an error header) and hands them over; the
order of the questions below is what matters, because vendors answer 429 to a request that can never fit, 400 to a
bad key, and call a per-minute limit a quota.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from services.providers.domain.failure import AttemptError, Failure, Reason, RetryClass

RETRY_AFTER_S_MAX: Final = 7 * 86_400.0
"""A longer wait is as good as this one; some vendors send dates far away."""

_QUOTA_WORDS: Final = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_usage_limit_exceeded",
    "billing_error",
    "billing_hard_limit_reached",
    "ramp_limit_exceeded",
    "insufficient_balance",
    "arrearage",  # DashScope
    "allocationquota.freetieronly",
    "billing_not_active",
    "exceeded_current_quota_error",  # Moonshot
    "insufficient_funds",
}
_QUOTA_TEXT: Final = re.compile(
    r"credit balance is too low|insufficient balance|insufficient credits?|no credits"
    r"|(does not|doesn't) have any credits|requires more credits"
    r"|(run|ran) out of (available )?credits|used all available credits"
    r"|spend(ing)? (limit|cap)|purchase (more )?credits|payment required|billing hard limit"
    r"|credits (are|is) depleted|reached your specified api usage limits|please enable billing"
    r"|account\b.{0,60}\b(is )?suspended|api calls / month"
    r"|free tier of the model has been exhausted",
    re.IGNORECASE,
)
_KEY_LIMIT_TEXT: Final = re.compile(r"key limit exceeded", re.IGNORECASE)
"""OpenRouter's sum that a key may spend, by status 403; by 429 it is a rate that passes."""
_OUT_OF_RESOURCES_TEXT: Final = re.compile(r"(run|ran) out of (available )?resources", re.IGNORECASE)
"""Money where a request is refused with it; of a server in the middle of its answer it is memory."""
_CONTEXT_WORDS: Final = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "too_many_prompt_tokens",
    "too_many_tokens",
    "context_window_exceeded",
    "string_above_max_length",
    "tokens_limit_reached",  # GitHub's models
}
_CONTEXT_TEXT: Final = re.compile(
    r"maximum context length|max(imum)? context (size|window)|exceeds? the context (window|size)"
    r"|context (length|window|size) (is only|has been exceeded|exceeded)|available context size"
    r"|prompt is too long|prompt too long|input is too long|input tokens? exceed"
    r"|input token count[^.]{0,40}exceeds|exceeds the maximum number of tokens"
    r"|too many (prompt |input )?tokens: size limit|total length of all messages is too long"
    r"|exceeds? (the )?model'?s? (maximum )?context"
    r"|exceeds? context limit|tokens.{0,40}must be <= \d+\. given"
    r"|input token count is \d+ but|maximum prompt length|must have less than \d+ tokens|exceeds? the context length"
    r"|too many tokens: total number|range of input length should be|longer than the maximum model length"
    r"|prompt exceeds max length|exceeded model token limit",
    re.IGNORECASE,
)
_NEVER_FITS_TEXT: Final = re.compile(r"request too large", re.IGNORECASE)
_FILTER_WORDS: Final = {
    "content_filter",
    "responsibleaipolicyviolation",
    "content_policy_violation",
    "content_filtered",
    "moderation_blocked",
    "data_inspection_failed",
    "datainspectionfailed",
}
_FILTER_TEXT: Final = re.compile(
    r"blocked by (our )?content filter|potentially violating our (usage|content) policy"
    r"|content violates usage guidelines|content exists risk|(may|might) contain inappropriate content"
    r"|input was flagged for|considered high risk|potentially unsafe or sensitive content",
    re.IGNORECASE,
)
_AUTH_WORDS: Final = {
    "invalid_api_key",
    "authentication_error",
    "api_key_invalid",
    "unauthenticated",
    "unauthorized",
    "permission_error",
    "permission_denied",
    "invalid_authentication",
    "accessdeniedexception",
    "unrecognizedclientexception",
    "expiredtokenexception",
    "invalidsignatureexception",
    "missingauthenticationtokenexception",
    "organization_restricted",
}
_AUTH_TEXT: Final = re.compile(
    r"(api[ _-]?key|x-api-key|access token|bearer token|credential)s?\b.{0,40}"
    r"\b(invalid|not valid|incorrect|expired|missing|revoked)"
    r"|\b(incorrect|invalid|missing|expired|revoked) (api[ _-]?key|x-api-key|authentication|access token|credential)"
    r"|\borgani[sz]ation has been (disabled|restricted)|user location is not supported",
    re.IGNORECASE,
)
_MODEL_WORDS: Final = {
    "model_not_found",
    "deploymentnotfound",
    "not_found_error",
    "not_found",
    "resourcenotfoundexception",
    "model_not_exist",
    "invalid_model",
    "unknown_model",
    "model_not_available",  # Together
    "model_not_supported",  # Hugging Face
}
_MODEL_TEXT: Final = re.compile(
    r"model\b.{0,120}\b(does not exist|doesn't exist|not found|not exist|was removed|is not available"
    r"|has been (deprecated|decommissioned)|is not supported for)"
    r"|on-demand throughput isn.t supported|does not work with the specified model"
    r"|model identifier is invalid|invalid model( name| id)?\b|is not a valid model|unknown model|no such model",
    re.IGNORECASE | re.DOTALL,
)
_OVERLOADED_WORDS: Final = {
    "overloaded_error",
    "overloaded",
    "slow_down",
    "server_is_overloaded",
    "engine_overloaded",
    "service_unavailable_error",
    "service_unavailable",
    "unavailable",
    "unavailable_error",
    "modelnotreadyexception",
    "capacity_exceeded",  # Groq's flexible tier, by status 498
    "nocapacity",  # Azure
    "queue_exceeded",  # Cerebras
    "serviceunavailableexception",
}
_OVERLOADED_429_TEXT: Final = re.compile(
    r"capacity exceeded|overloaded|at capacity|experiencing high (demand|traffic)", re.IGNORECASE
)
_RATE_WORDS: Final = {
    "rate_limit_exceeded",
    "rate_limit_error",
    "rate_limited",
    "ratelimitreached",
    "resource_exhausted",
    "throttlingexception",
    "too_many_requests",
    "toomanyrequests",
}
_UNSUPPORTED_WORDS: Final = {"unsupported_parameter", "unsupported_value"}
_MODELS_FAULT_WORDS: Final = {"tool_use_failed", "json_validate_failed", "output_parse_failed"}
_SERVER_WORDS: Final = {
    "server_error",
    "internal_server_error",
    "internal_error",
    "internal",
    "api_error",
    "timeout_error",
    "deadline_exceeded",
    "internalserverexception",
    "modelstreamerrorexception",
    "modelerrorexception",
    "modeltimeoutexception",
}
_CLIENT_WORDS: Final = {
    "invalid_request_error",
    "invalid_request",
    "invalid_argument",
    "validationexception",
    "badrequesterror",
    "bad_request",
    "failed_precondition",
}


def reason_of(
    status: int, words: Iterable[str], message: str
) -> tuple[Reason.ValueType, RetryClass.ValueType | None]:
    """The reason, and the retry class where it differs from the reason's own.

    `status` is the HTTP status; 0 for an error inside a stream that tells no status of its own. `words` are the
    vendor's codes and types in any case.
    """
    said = {word.lower() for word in words if word}
    caller_at_fault = status in (400, 413, 422) or (status == 0 and bool(said & _CLIENT_WORDS))
    if status == 402 or said & _QUOTA_WORDS or any(word.endswith("_spend_limit_exceeded") for word in said):
        return Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED, None
    if any(word.endswith("spend_limit_reached") for word in said):
        return Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED, None
    if status in (0, 400, 403, 412, 429) and _QUOTA_TEXT.search(message):
        return Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED, None
    if status == 403 and _KEY_LIMIT_TEXT.search(message):
        return Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED, None
    if status in (0, 400, 403, 412, 429) and _OUT_OF_RESOURCES_TEXT.search(message):
        if status == 0:
            return Reason.ERROR_REASON_VENDOR_OVERLOADED, None
        return Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED, None
    if said & _CONTEXT_WORDS or (status not in (401, 403, 404, 429) and _CONTEXT_TEXT.search(message)):
        return Reason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED, None
    if status in (0, 413, 429) and _NEVER_FITS_TEXT.search(message):
        return Reason.ERROR_REASON_VENDOR_RATE_LIMITED, RetryClass.RETRY_CLASS_OTHER_MODEL
    if said & _FILTER_WORDS or (status in (0, 400, 403) and _FILTER_TEXT.search(message)):
        return Reason.ERROR_REASON_CONTENT_FILTERED, None
    if status == 498 and said & _OVERLOADED_WORDS:
        return Reason.ERROR_REASON_VENDOR_OVERLOADED, None
    if status in (401, 403, 407, 498) or (status in (0, 400) and said & _AUTH_WORDS):
        return Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED, None
    if status == 400 and _AUTH_TEXT.search(message):
        return Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED, None
    if status in (404, 410) or said & _MODEL_WORDS or (caller_at_fault and _MODEL_TEXT.search(message)):
        return Reason.ERROR_REASON_VENDOR_MODEL_NOT_FOUND, None
    if status in (503, 529) or (status in (0, 200, 429, 500) and said & _OVERLOADED_WORDS):
        return Reason.ERROR_REASON_VENDOR_OVERLOADED, None
    if status == 429 or (status in (0, 200) and said & _RATE_WORDS):
        if _OVERLOADED_429_TEXT.search(message):
            return Reason.ERROR_REASON_VENDOR_OVERLOADED, None
        return Reason.ERROR_REASON_VENDOR_RATE_LIMITED, None
    if said & _MODELS_FAULT_WORDS or status in (408, 409, 424, 499) or status >= 500:
        return Reason.ERROR_REASON_VENDOR_ERROR, None
    if said & _UNSUPPORTED_WORDS:
        return Reason.ERROR_REASON_UNSUPPORTED_PARAMETER, None
    if status == 413:
        return Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST, RetryClass.RETRY_CLASS_OTHER_MODEL
    if caller_at_fault or status in range(400, 500):
        return Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST, None
    if status in range(300, 400):
        return Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR, None
    return Reason.ERROR_REASON_VENDOR_ERROR, None


def vendor_error(
    status: int,
    headers: Mapping[str, str],
    *,
    words: Iterable[str] = (),
    message: str = "",
    code: str = "",
    parameter: str = "",
    request_id: str = "",
    retry_after_s: float | None = None,
) -> AttemptError:
    """The error for a vendor's error answer, or for an error event in a stream (`status` 0 or what the event says).

    `retry_after_s` is a hint from the body; headers come before it, the message's own words after it.
    """
    reason, retry_class = reason_of(status, words, message)
    failure = Failure(
        reason=reason,
        message=message or f"The vendor answered with status {status}.",
        retry_class=_by_header(
            headers, retry_class if retry_class is not None else Failure(reason, "").retry
        ),
        retry_after_s=_first(retry_after_header_s(headers), retry_after_s, hint_in_text_s(message)),
        http_status=status or None,
        vendor_code=code,
        vendor_request_id=request_id or request_id_of(headers),
        parameter=parameter if reason == Reason.ERROR_REASON_UNSUPPORTED_PARAMETER else "",
    )
    return AttemptError(failure)


def _by_header(headers: Mapping[str, str], retry: RetryClass.ValueType) -> RetryClass.ValueType:
    """`x-should-retry` is the vendor's own word about sending the same again, and above what the status suggests."""
    said = headers.get("x-should-retry", "").lower()
    if said == "true" and retry == RetryClass.RETRY_CLASS_NEVER:
        return RetryClass.RETRY_CLASS_SAME_ENDPOINT
    if said == "false" and retry == RetryClass.RETRY_CLASS_SAME_ENDPOINT:
        return RetryClass.RETRY_CLASS_OTHER_MODEL
    return retry


def _first(*hints: float | None) -> float | None:
    return next((min(hint, RETRY_AFTER_S_MAX) for hint in hints if hint is not None), None)


def retry_after_header_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by `retry-after-ms`, else `retry-after` (seconds, fraction or HTTP date). None: no hint.

    A zero says nothing (Azure sends `retry-after-ms: 0` beside `retry-after: 1`). Read it from errors only: a 200
    with retry-after is normal.
    """
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) * unit_s
        except ValueError:
            if unit_s != 1.0:
                continue
            try:
                until = parsedate_to_datetime(text)
            except ValueError:
                continue
            if until.tzinfo is None:
                until = until.replace(tzinfo=UTC)
            seconds = (until - (now or datetime.now(UTC))).total_seconds()
        if 0 < seconds < float("inf"):
            return seconds
    return None


_HINT = re.compile(
    r"(?:try again|retry|wait)\s+(?:in|after|for)\s+(?P<hint>(?:\d+(?:\.\d+)?\s*(?:ms|h|m|s|seconds?|minutes?)\s*)+)",
    re.IGNORECASE,
)
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s)", re.IGNORECASE)
_UNIT_S: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str) -> float | None:
    """A Go-like duration (`6ms`, `8.64s`, `1m0.052s`, `9m38.016s`) in seconds; None if it is none."""
    pieces = _PIECE.findall(text)
    if not pieces:
        return None
    return sum(float(number) * _UNIT_S[unit.lower()] for number, unit in pieces)


def hint_in_text_s(message: str) -> float | None:
    """The wait that a message names in words, in seconds: `Please try again in 9m38.016s`."""
    match = _HINT.search(message)
    return duration_s(match["hint"]) if match else None


_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "mistral-correlation-id",
    "x-debug-trace-id",
    "x-generation-id",
    "x-ds-trace-id",
    "inference-id",
    "x-api-request-id",
)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The vendor's id of a request, by whatever header it uses; empty if there is none."""
    for name in _REQUEST_ID_HEADERS:
        given = headers.get(name)
        if given:
            return given
    return ""
