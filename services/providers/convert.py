"""Between our values and the contract's messages."""

from collections.abc import Sequence

from google.protobuf.message import Message

from services.chassis import status
from services.kernel.errors import InvalidRequest, TurnpikeError
from services.kernel.ids import RequestId
from services.kernel.model_ref import ModelRef
from services.providers.domain.endpoint import EndpointSpec
from services.providers.domain.failure import ChargeRule, Failure, Reason, RetryClass
from services.providers.errors import AttemptFailedError
from services.providers.use_cases.attempt import fill_duration
from turnpike.providers.v1 import catalogue_pb2, providers_pb2


def check_attempt(attempt: providers_pb2.Attempt) -> None:
    """Raises InvalidRequest for an attempt that cannot be made, naming every field that is wrong."""
    try:
        ModelRef.parse(attempt.model)
    except ValueError as error:
        raise InvalidRequest.of("attempt.model", str(error)) from error
    if not attempt.input.messages:
        raise InvalidRequest.of("attempt.input.messages", "holds no message; at least one is needed")
    if attempt.max_output_tokens < 1:
        raise InvalidRequest.of("attempt.max_output_tokens", "must be at least 1: it is the cap that is held")
    if attempt.key.request_id:
        try:
            RequestId.parse(attempt.key.request_id)
        except ValueError as error:
            raise InvalidRequest.of("attempt.key.request_id", str(error)) from error


def to_pb_failed(failure: Failure, endpoint_id: str, deltas_sent: int) -> providers_pb2.AttemptFailed:
    """A settled failure in the contract's words."""
    failed = providers_pb2.AttemptFailed(
        reason=failure.reason,
        message=failure.message,
        retry_class=failure.retry,
        charge=failure.charge if failure.charge is not None else ChargeRule.CHARGE_RULE_FULL,
        usage=failure.usage,
        endpoint_id=endpoint_id,
        http_status=failure.http_status,
        vendor_code=failure.vendor_code,
        vendor_request_id=failure.vendor_request_id,
        phase=failure.phase,
        deltas_sent=deltas_sent,
        parameter=failure.parameter,
    )
    if failure.retry_after_s is not None:
        fill_duration(failed.retry_after, failure.retry_after_s)
    if failure.vendor_cost_nanos is not None:
        failed.vendor_cost.nanos = failure.vendor_cost_nanos
        failed.vendor_cost.currency_code = "USD"
    return failed


def to_pb_refused(
    operation: providers_pb2.DispatchOperation, error: TurnpikeError
) -> providers_pb2.DispatchEvent:
    """An operation that failed before, or outside of, its attempt: nothing was sent unless its deadline passed."""
    reason = Reason.Value(f"ERROR_REASON_{error.reason}")
    late = reason == Reason.ERROR_REASON_DEADLINE_EXCEEDED
    internal = reason == Reason.ERROR_REASON_INTERNAL
    return providers_pb2.DispatchEvent(
        operation_id=operation.operation_id,
        failed=providers_pb2.AttemptFailed(
            reason=reason,
            message=error.message,
            retry_class=RetryClass.RETRY_CLASS_NEVER,
            charge=ChargeRule.CHARGE_RULE_FULL if late or internal else ChargeRule.CHARGE_RULE_NOTHING,
        ),
    )


def to_pb_too_large(event: providers_pb2.DispatchEvent) -> providers_pb2.DispatchEvent:
    """In place of an answer that is too large for our messages: a failure that is charged what the answer took."""
    finished = event.finished if event.HasField("finished") else None
    failed = providers_pb2.AttemptFailed(
        reason=Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR,
        message="The vendor's answer is longer than a message of ours may be.",
        retry_class=RetryClass.RETRY_CLASS_OTHER_MODEL,
        charge=ChargeRule.CHARGE_RULE_FULL,
    )
    if finished is not None:
        failed.endpoint_id = finished.endpoint_id
        failed.vendor_request_id = finished.vendor_request_id
        failed.charge = ChargeRule.CHARGE_RULE_USAGE
        failed.usage.CopyFrom(finished.usage)
        if finished.HasField("vendor_cost"):
            failed.vendor_cost.CopyFrom(finished.vendor_cost)
    return providers_pb2.DispatchEvent(failed=failed)


def to_pb_endpoint(spec: EndpointSpec) -> catalogue_pb2.Endpoint:
    """An endpoint as everyone may see it: not where it is, nor by which credential."""
    return catalogue_pb2.Endpoint(
        endpoint_id=spec.endpoint_id,
        wire_format=spec.wire_format,
        region=spec.region,
        vendor_model=spec.vendor_model,
        weight=spec.weight,
    )


@status.details.register
def _(error: AttemptFailedError) -> Sequence[Message]:
    return [to_pb_failed(error.failure, error.endpoint_id, error.deltas_sent)]
