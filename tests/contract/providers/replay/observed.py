"""What came out of an adapter, in the words of the expectations, and where it differs."""

from typing import Any

from services.providers.domain.failure import Failure, Reason, RetryClass
from tests.contract.providers.expectations.shape import Expected, arguments
from turnpike.common.v1 import content_pb2, usage_pb2

CLASSES = {
    Reason.ERROR_REASON_VENDOR_RATE_LIMITED: "rate_limit",
    Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED: "quota",
    Reason.ERROR_REASON_VENDOR_OVERLOADED: "overloaded",
    Reason.ERROR_REASON_VENDOR_ERROR: "vendor_error",
    Reason.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED: "auth",
    Reason.ERROR_REASON_VENDOR_MODEL_NOT_FOUND: "model_not_found",
    Reason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: "context_length",
    Reason.ERROR_REASON_CONTENT_FILTERED: "content_filter",
    Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST: "bad_request",
    Reason.ERROR_REASON_UNSUPPORTED_PARAMETER: "unsupported",
    Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED: "truncated",
}
RETRIES = {
    "rate_limit": {RetryClass.RETRY_CLASS_SAME_ENDPOINT},
    "too_large": {RetryClass.RETRY_CLASS_OTHER_MODEL},
    "quota": {RetryClass.RETRY_CLASS_OTHER_CREDENTIAL},
    "auth": {RetryClass.RETRY_CLASS_OTHER_CREDENTIAL},
    "overloaded": {RetryClass.RETRY_CLASS_SAME_ENDPOINT},
    # With `x-should-retry: false` another one must do.
    "vendor_error": {RetryClass.RETRY_CLASS_SAME_ENDPOINT, RetryClass.RETRY_CLASS_OTHER_MODEL},
    "truncated": {RetryClass.RETRY_CLASS_SAME_ENDPOINT},
    "model_not_found": {RetryClass.RETRY_CLASS_OTHER_MODEL},
    "context_length": {RetryClass.RETRY_CLASS_LARGER_CONTEXT},
    "content_filter": {RetryClass.RETRY_CLASS_NEVER},
    "bad_request": {RetryClass.RETRY_CLASS_NEVER, RetryClass.RETRY_CLASS_OTHER_MODEL},
    "unsupported": {RetryClass.RETRY_CLASS_OTHER_MODEL},
}
USAGE_FIELDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_long": "cache_write_long_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
    "input_image": "input_image_tokens",
    "unbilled_input": "unbilled_input_tokens",
    "unbilled_output": "unbilled_output_tokens",
}


class Observed(Expected):
    """Collects what an adapter says."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[tuple[int, int], list[str]] = {}
        self.retry: RetryClass.ValueType | None = None
        self.problems: list[str] = []

    def take(self, deltas: list[content_pb2.ChoiceDelta]) -> None:
        for delta in deltas:
            index = delta.index
            match delta.WhichOneof("delta"):
                case "text":
                    self.add(self.texts, index, delta.text)
                case "reasoning":
                    self.add(self.reasoning, index, delta.reasoning.text)
                case "refusal":
                    self.add(self.refusals, index, delta.refusal)
                case "tool_call":
                    self._call(index, delta.tool_call)
                case _:
                    pass
            if delta.finish_reason:
                if index in self.finishes:
                    self.problems.append(f"choice {index} ends twice")
                self.finishes[index] = finish_name(delta.finish_reason)

    def _call(self, index: int, delta: content_pb2.ToolCallDelta) -> None:
        known = self._calls.get((index, delta.index))
        if known is None:
            if not delta.id:
                self.problems.append("the first delta of a call has no id")
            known = self._calls[index, delta.index] = [delta.name, ""]
        elif delta.name or delta.id:
            self.problems.append("a later delta of a call has an id or a name")
        known[1] += delta.arguments_json

    def take_choices(self, choices: Any) -> None:
        for choice in choices:
            index = choice.index
            for part in choice.message.parts:
                match part.WhichOneof("kind"):
                    case "text":
                        self.add(self.texts, index, part.text.text)
                    case "reasoning":
                        self.add(self.reasoning, index, part.reasoning.text)
                    case "refusal":
                        self.add(self.refusals, index, part.refusal.text)
                    case "tool_call":
                        call = part.tool_call
                        self._calls[index, len(self._calls)] = [call.name, call.arguments_json]
                        if not call.id:
                            self.problems.append("a call has no id")
                    case _:
                        pass
            if choice.finish_reason:
                self.finishes[index] = finish_name(choice.finish_reason)

    def take_usage(self, usage: usage_pb2.Usage | None) -> None:
        if usage is None or usage.source != usage_pb2.UsageSource.USAGE_SOURCE_VENDOR:
            return
        if not (usage.HasField("input_tokens") and usage.HasField("output_tokens")):
            return  # completed by our own count in an attempt
        told = {
            name: int(getattr(usage, field))
            for name, field in USAGE_FIELDS.items()
            if usage.HasField(field)  # type: ignore[arg-type]  # every one of them is a field
        }
        self.usage = told or None

    def take_failure(self, failure: Failure) -> None:
        name = CLASSES.get(failure.reason, Reason.Name(failure.reason))
        if name == "rate_limit" and failure.retry == RetryClass.RETRY_CLASS_OTHER_MODEL:
            name = "too_large"
        self.error, self.retry = name, failure.retry

    def ended(self) -> None:
        for (index, _), (name, text) in sorted(self._calls.items()):
            self.calls.setdefault(index, []).append((name, arguments(text)))
        self._calls = {}


def finish_name(reason: content_pb2.FinishReason.ValueType) -> str:
    return content_pb2.FinishReason.Name(reason).removeprefix("FINISH_REASON_")


def differences(expected: Expected, observed: Observed) -> list[str]:
    """Where they differ, for people."""
    found = list(observed.problems)
    names = ["error"]
    if expected.error is None or expected.texts or expected.calls:
        names += ["texts", "reasoning", "refusals", "calls"]
    if expected.error is None:
        names += ["finishes", "usage", "cost_nanos", "count"]
    for name in names:
        wanted, got = getattr(expected, name), getattr(observed, name)
        if wanted != got:
            found.append(f"{name}: expected {_short(wanted)}, got {_short(got)}")
    if expected.model and expected.error is None and observed.model not in ("", None, expected.model):
        found.append(f"model: expected {expected.model}, got {observed.model}")
    if (
        expected.error
        and observed.retry is not None
        and observed.retry not in RETRIES.get(expected.error, ())
    ):
        found.append(f"retry class: {RetryClass.Name(observed.retry)} does not fit {expected.error}")
    if expected.vectors is not None:
        found += _vectors(expected.vectors, observed.vectors or [])
    return found


def _vectors(wanted: list[list[float]], got: list[list[float]]) -> list[str]:
    if [len(vector) for vector in wanted] != [len(vector) for vector in got]:
        return [f"vectors: expected lengths {[len(v) for v in wanted]}, got {[len(v) for v in got]}"]
    for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
        # They travel as 32-bit floats.
        if any(abs(a - b) > 1e-6 * max(1.0, abs(a)) for a, b in zip(one, other, strict=True)):
            return [f"vectors: number {number} differs"]
    return []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:150]} … {text[-150:]}"
