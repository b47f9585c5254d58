"""Classes of errors, told from status and raw text by a table of its own."""

import json
import re
from typing import Any

from tests.contract.providers.expectations.shape import Expected

CONTEXT = (
    "maximum context length|context_length_exceeded|prompt is too long|prompt too long|context length is only"
    "|exceeds the maximum number of tokens|input tokens exceeded|input is too long|too_many_tokens|context window"
    "|too_many_prompt_tokens|exceed_context_size|context size has been|exceed context limit"
    r"|must be <= \d+\. given|available context size|input token count is \d+|maximum prompt length|exceeds max length"
    r"|less than \d+ tokens|total number of tokens in this prompt|input length should be|exceeds the context length"
    r"|the maximum model length|model token limit|tokens_limit_reached"
)
QUOTA = (
    "insufficient_quota|credit balance is too low|insufficient balance|billing_error|spend_limit|out of credits"
    "|usage_limit_exceeded|credit_balance_exhausted|used all available credits|have any credits|arrearage"
    "|spending cap|credits are depleted|api usage limits|enable billing|suspended|key limit exceeded|api calls / month"
    "|freetieronly|billing_not_active|exceeded_current_quota_error"
)
FILTER = (
    "responsibleaipolicyviolation|content_filter|content_policy_violation|data_inspection_failed"
    "|blocked by content filter|violating our usage policy|violates usage guidelines|content exists risk"
    "|inappropriate content|was flagged for|high risk|unsafe or sensitive content|datainspectionfailed"
)
BAD_KEY = (
    "api key not valid|api_key_invalid|incorrect api key|invalid api key|invalid x-api-key"
    "|organization has been (disabled|restricted)|user location is not supported"
)
NO_MODEL = (
    "model_not_found|model identifier is invalid|deploymentnotfound|model .{0,80}(does not exist|not found)"
    "|model_not_available|model_not_supported|on-demand throughput isn|work with the specified model"
)
LOADED = (
    "capacity exceeded|server_is_overloaded|slow_down|modelnotready|overloaded_error"
    "|experiencing high|nocapacity|queue_exceeded"
)

_TABLE: tuple[tuple[str, str, str], ...] = (
    # statuses, pattern in the lower-case raw body and error header, class; the first that fits
    (r"402", r"", "quota"),
    (r"400|403|412|429", QUOTA, "quota"),
    (r"400|413|422|500", CONTEXT, "context_length"),
    (r"429|413", r"request too large", "too_large"),
    (r"400|403", FILTER, "content_filter"),
    (r"498", "capacity", "overloaded"),
    (r"401|403|407|498", r"", "auth"),
    (r"400", BAD_KEY, "auth"),
    (r"404|410", r"", "model_not_found"),
    (r"400|422", NO_MODEL, "model_not_found"),
    (r"503|529", r"", "overloaded"),
    (r"429", LOADED, "overloaded"),
    (r"429", r"", "rate_limit"),
    (r"400", r"tool_use_failed|json_validate_failed", "vendor_error"),
    (r"400", r"unsupported_parameter|unsupported_value", "unsupported"),
    (r"408|409|424|499|5\d\d", r"", "vendor_error"),
    (r"4\d\d", r"", "bad_request"),
)


def classify(status: int, text: str) -> str:
    """The class of an error answer."""
    for statuses, pattern, name in _TABLE:
        if re.fullmatch(statuses, str(status)) and re.search(pattern, text.lower(), re.DOTALL):
            return name
    return "vendor_error"


def of_status(recording: dict[str, Any]) -> Expected:
    """The expectation for an answer of an error status."""
    response = recording["response"]
    text = (response["body"] or "") + " " + (response["headers"].get("x-amzn-errortype") or "")
    return Expected(error=classify(response["status"], text))


def of_event(event: Any) -> str:
    """The class of an error inside a stream, or inside an answer of status 200, by what its object says."""
    text = json.dumps(event).lower()
    error = event.get("error") if isinstance(event, dict) else None
    for key in ("status_code", "code"):
        status = error.get(key) if isinstance(error, dict) else None
        if isinstance(status, int):
            return classify(status, text)
    for pattern, name in (
        (QUOTA, "quota"),
        (CONTEXT, "context_length"),
        ("request too large", "too_large"),
        (FILTER, "content_filter"),
        ("authentication_error|invalid_api_key", "auth"),
        ("model_not_found|not_found_error", "model_not_found"),
        ("overloaded|unavailable", "overloaded"),
        ("rate_limit|rate limit|too many requests|throttl|resource_exhausted", "rate_limit"),
        ("invalid_request|validationexception|invalid_argument", "bad_request"),
    ):
        if re.search(pattern, text):
            return name
    return "vendor_error"
