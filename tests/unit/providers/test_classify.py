"""Vendors' errors, as their documents, SDKs and users tell them, in one taxonomy."""

from datetime import UTC, datetime

import pytest

from services.providers.domain.classify import (
    hint_in_text_s,
    reason_of,
    request_id_of,
    retry_after_header_s,
    vendor_error,
)
from services.providers.domain.failure import RETRY_CLASS, Failure, Reason, RetryClass
from services.providers.errors import CATEGORIES

CASES = [
    # status, words, message, reason without its prefix
    (429, ("rate_limit_exceeded", "requests"), "Rate limit reached", "VENDOR_RATE_LIMITED"),
    (429, ("insufficient_quota",), "You exceeded your current quota", "VENDOR_QUOTA_EXHAUSTED"),
    (
        429,
        ("RESOURCE_EXHAUSTED",),
        "You exceeded your current quota. Please retry in 48.9s.",
        "VENDOR_RATE_LIMITED",
    ),
    (429, ("project_spend_limit_exceeded",), "", "VENDOR_QUOTA_EXHAUSTED"),
    (429, ("workspace_spend_limit_reached",), "", "VENDOR_QUOTA_EXHAUSTED"),
    (402, (), "Insufficient Balance", "VENDOR_QUOTA_EXHAUSTED"),
    (
        400,
        ("invalid_request_error",),
        "Your credit balance is too low to access the API",
        "VENDOR_QUOTA_EXHAUSTED",
    ),
    (
        403,
        (),
        "Your team has used all available credits",
        "VENDOR_QUOTA_EXHAUSTED",
    ),
    (429, ("slow_down",), "Please slow down", "VENDOR_OVERLOADED"),
    (429, (), "Service tier capacity exceeded for this model.", "VENDOR_OVERLOADED"),
    (429, ("ModelNotReadyException",), "The model is not ready", "VENDOR_OVERLOADED"),
    (529, ("overloaded_error",), "Overloaded", "VENDOR_OVERLOADED"),
    (503, ("UNAVAILABLE",), "high demand", "VENDOR_OVERLOADED"),
    (503, ("unavailable_error",), "Loading model", "VENDOR_OVERLOADED"),
    (500, ("server_error",), "", "VENDOR_ERROR"),
    (502, (), "", "VENDOR_ERROR"),
    (504, ("DEADLINE_EXCEEDED",), "", "VENDOR_ERROR"),
    (424, ("ModelErrorException",), "", "VENDOR_ERROR"),
    (400, ("tool_use_failed",), "Failed to call a function", "VENDOR_ERROR"),
    (401, ("invalid_api_key",), "Incorrect API key provided", "VENDOR_AUTHENTICATION_FAILED"),
    (403, ("permission_error",), "", "VENDOR_AUTHENTICATION_FAILED"),
    (498, (), "invalid token", "VENDOR_AUTHENTICATION_FAILED"),
    (400, ("API_KEY_INVALID", "INVALID_ARGUMENT"), "API key not valid.", "VENDOR_AUTHENTICATION_FAILED"),
    (400, ("invalid-argument",), "Incorrect API key provided: xa***", "VENDOR_AUTHENTICATION_FAILED"),
    (404, ("DeploymentNotFound",), "", "VENDOR_MODEL_NOT_FOUND"),
    (400, ("model_not_found",), "", "VENDOR_MODEL_NOT_FOUND"),
    (400, ("ValidationException",), "The provided model identifier is invalid.", "VENDOR_MODEL_NOT_FOUND"),
    (400, ("context_length_exceeded",), "", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "Your input exceeds the context window of this model.", "CONTEXT_LENGTH_EXCEEDED"),
    (
        400,
        ("invalid_request_error",),
        "prompt is too long: 214 tokens > 200 maximum",
        "CONTEXT_LENGTH_EXCEEDED",
    ),
    (
        400,
        ("INVALID_ARGUMENT",),
        "input token count (9) exceeds the maximum number of tokens",
        "CONTEXT_LENGTH_EXCEEDED",
    ),
    (400, ("ValidationException",), "Input is too long for requested model.", "CONTEXT_LENGTH_EXCEEDED"),
    (400, ("BadRequestError",), "context length is only 4096 tokens", "CONTEXT_LENGTH_EXCEEDED"),
    (500, (), "Context size has been exceeded.", "CONTEXT_LENGTH_EXCEEDED"),
    (400, ("content_filter",), "The response was filtered", "CONTENT_FILTERED"),
    (400, ("invalid_request_error",), "max_tokens must be at least 1", "VENDOR_REJECTED_REQUEST"),
    (400, ("unsupported_parameter",), "'stop' is not supported with this model.", "UNSUPPORTED_PARAMETER"),
    (422, (), "body.temperature: Input should be less than 2", "VENDOR_REJECTED_REQUEST"),
    (418, (), "", "VENDOR_REJECTED_REQUEST"),
    (302, (), "", "VENDOR_PROTOCOL_ERROR"),
    # money, in the words of each
    (429, ("billing_not_active",), "Your account is not active", "VENDOR_QUOTA_EXHAUSTED"),
    (429, ("RESOURCE_EXHAUSTED",), "Your prepayment credits are depleted.", "VENDOR_QUOTA_EXHAUSTED"),
    (429, ("RESOURCE_EXHAUSTED",), "It has exceeded its monthly spending cap.", "VENDOR_QUOTA_EXHAUSTED"),
    (400, (), "You have reached your specified API usage limits.", "VENDOR_QUOTA_EXHAUSTED"),
    (400, ("FAILED_PRECONDITION",), "No free tier here. Please enable billing.", "VENDOR_QUOTA_EXHAUSTED"),
    (412, ("PRECONDITION_FAILED",), "Account a-1 is suspended, possibly unpaid", "VENDOR_QUOTA_EXHAUSTED"),
    (429, ("exceeded_current_quota_error",), "Your account is suspended", "VENDOR_QUOTA_EXHAUSTED"),
    (403, ("AllocationQuota.FreeTierOnly",), "", "VENDOR_QUOTA_EXHAUSTED"),
    (403, (), "Key limit exceeded (total limit).", "VENDOR_QUOTA_EXHAUSTED"),
    (429, (), "a Trial key, which is limited to 1000 API calls / month", "VENDOR_QUOTA_EXHAUSTED"),
    (429, (), "a Trial key, which is limited to 20 API calls / minute", "VENDOR_RATE_LIMITED"),
    (412, (), "another precondition", "VENDOR_REJECTED_REQUEST"),
    # prompts that are too long, in the words of each
    (400, (), "This model's maximum prompt length is 131072 but it has 140000", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "the input token count is 1098765 but model only supports less", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "too many tokens: total number of tokens cannot exceed 132096", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "`inputs` must have less than 4097 tokens. Given: 5000", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "Range of input length should be [1, 98304]", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "(length 5000) is longer than the maximum model length", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "the input length exceeds the context length", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "Prompt exceeds max length", "CONTEXT_LENGTH_EXCEEDED"),
    (400, (), "Your request exceeded model token limit: 8192", "CONTEXT_LENGTH_EXCEEDED"),
    (413, ("tokens_limit_reached",), "Request body too large for it", "CONTEXT_LENGTH_EXCEEDED"),
    # filters
    (400, ("invalid_request_error",), "Content Exists Risk", "CONTENT_FILTERED"),
    (400, ("DataInspectionFailed",), "", "CONTENT_FILTERED"),
    (403, (), "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO", "CONTENT_FILTERED"),
    (403, (), "It requires moderation. Your input was flagged for violence.", "CONTENT_FILTERED"),
    (400, ("content_filter",), "rejected because it was considered high risk", "CONTENT_FILTERED"),
    # who may not, what is not there, and who has no room
    (400, (), "This organization has been disabled.", "VENDOR_AUTHENTICATION_FAILED"),
    (400, ("organization_restricted",), "", "VENDOR_AUTHENTICATION_FAILED"),
    (400, (), "User location is not supported for the API use.", "VENDOR_AUTHENTICATION_FAILED"),
    (400, ("model_not_available",), "Unable to access non-serverless model x.", "VENDOR_MODEL_NOT_FOUND"),
    (400, ("model_not_supported",), "", "VENDOR_MODEL_NOT_FOUND"),
    (
        400,
        ("ValidationException",),
        "ID x with on-demand throughput isn\u2019t supported.",
        "VENDOR_MODEL_NOT_FOUND",
    ),
    (498, ("capacity_exceeded",), "Flex tier capacity exceeded", "VENDOR_OVERLOADED"),
    (429, ("NoCapacity",), "", "VENDOR_OVERLOADED"),
    (429, ("queue_exceeded",), "We're experiencing high traffic right now!", "VENDOR_OVERLOADED"),
    # inside a stream, where there is no status
    (0, ("overloaded_error",), "Overloaded", "VENDOR_OVERLOADED"),
    (0, ("rate_limit_error",), "", "VENDOR_RATE_LIMITED"),
    (0, ("throttlingException",), "", "VENDOR_RATE_LIMITED"),
    (0, ("api_error",), "", "VENDOR_ERROR"),
    (0, ("invalid_request_error",), "", "VENDOR_REJECTED_REQUEST"),
    (0, (), "", "VENDOR_ERROR"),
    (0, ("server_error",), "The server ran out of resources.", "VENDOR_OVERLOADED"),
    (429, (), "You have run out of available resources", "VENDOR_QUOTA_EXHAUSTED"),
    # what sounds like one of the above, and is not
    (429, (), "Key limit exceeded: 20 requests a minute.", "VENDOR_RATE_LIMITED"),
    (429, ("rate_limit_exceeded",), "API key limit exceeded, slow down", "VENDOR_RATE_LIMITED"),
    (400, (), "Key limit exceeded: metadata takes 16 keys", "VENDOR_REJECTED_REQUEST"),
    (500, (), "CUDA ran out of resources", "VENDOR_ERROR"),
    (400, (), "The word credits is no valid tool name", "VENDOR_REJECTED_REQUEST"),
    (429, (), "Your account has 20 requests a minute", "VENDOR_RATE_LIMITED"),
    (400, (), "The stop sequence is too long", "VENDOR_REJECTED_REQUEST"),
    (429, (), "Too many tokens in this minute", "VENDOR_RATE_LIMITED"),
    (400, (), "The model has no parameter top_k", "VENDOR_REJECTED_REQUEST"),
    (400, (), "content must be a list of parts", "VENDOR_REJECTED_REQUEST"),
    (400, (), "Each key of metadata must be text", "VENDOR_REJECTED_REQUEST"),
    (500, (), "Worker crashed while the queue was at capacity", "VENDOR_ERROR"),
]


@pytest.mark.parametrize(("status", "words", "message", "reason"), CASES)
def test_reasons(status: int, words: tuple[str, ...], message: str, reason: str) -> None:
    found, _ = reason_of(status, words, message)
    assert Reason.Name(found) == f"ERROR_REASON_{reason}"


def test_a_request_that_can_never_fit_is_worth_no_wait() -> None:
    for status in (429, 413):
        error = vendor_error(
            status,
            {"retry-after": "1"},
            words=("rate_limit_exceeded", "tokens"),
            message="Request too large for it",
        )
        assert error.failure.reason == Reason.ERROR_REASON_VENDOR_RATE_LIMITED
        assert error.failure.retry == RetryClass.RETRY_CLASS_OTHER_MODEL


def test_the_vendors_own_word_about_trying_again_is_above_the_status() -> None:
    never = vendor_error(500, {"x-should-retry": "false"}).failure
    again = vendor_error(400, {"x-should-retry": "true"}).failure
    assert never.retry == RetryClass.RETRY_CLASS_OTHER_MODEL
    assert again.retry == RetryClass.RETRY_CLASS_SAME_ENDPOINT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "494", "retry-after": "1"}, 0.494),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
        ({"retry-after": "Tue, 24 Nov 2026 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 07:00:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
    ],
)
def test_hints_in_headers(headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after_header_s(headers, datetime(2026, 11, 24, 8, 0, tzinfo=UTC))
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 9m38.016s. Need more tokens?", 578.016),
        ("Please try again in 6ms.", 0.006),
        ("Please retry in 48.9s.", 48.9),
        ("Please retry after 12 seconds.", 12.0),
        ("Please try again later.", None),
        ("Try again in a 3rd attempt", None),
    ],
)
def test_hints_in_words(text: str, seconds: float | None) -> None:
    found = hint_in_text_s(text)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_hint_for_ever_is_cut() -> None:
    error = vendor_error(429, {"retry-after": "99999999"})
    assert error.failure.retry_after_s == 7 * 86_400


def test_long_messages_are_cut() -> None:
    assert len(vendor_error(400, {}, message="x" * 10_000).failure.message) < 2_100


def test_every_reason_has_a_retry_class_and_a_status() -> None:
    assert set(RETRY_CLASS) == set(CATEGORIES)
    for reason in RETRY_CLASS:
        assert Failure(reason, "").retry != RetryClass.RETRY_CLASS_UNSPECIFIED


def test_request_ids_by_any_of_their_names() -> None:
    assert request_id_of({"x-amzn-requestid": "a"}) == "a"
    assert request_id_of({"request-id": "b", "cf-ray": "c"}) == "b"
    assert request_id_of({}) == ""
