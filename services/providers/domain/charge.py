"""What a failed attempt costs: the table of outcomes, in one function.

| outcome | charge |
|---|---|
| no byte of the request had left | nothing |
| the vendor stated a usage | that usage |
| the vendor answered with an error status | nothing |
| the vendor reported an error before its first output | nothing |
| the answer had begun and was cut, by whomever | the larger of the vendor's figure and our count, estimated |
| the request had left and no answer began | the whole hold, unconfirmed |
"""

from dataclasses import dataclass

from services.providers.domain.failure import ChargeRule, Failure, Reason
from services.providers.domain.usage import completed, is_known, larger
from turnpike.common.v1 import usage_pb2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an attempt had come when it failed."""

    sent: bool
    """Bytes of the request may have left."""
    answered: bool
    """A status of 200 had come: the vendor is at work, or was."""
    output_counted: bool
    """At least one delta had come."""
    vendor_refused: bool
    """The vendor itself reported the error: by its status, or by an event inside the stream."""


# Reported by the reader of the vendor's answer, not by the vendor.
_BROKEN = {
    Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED,
    Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR,
}


def settle(failure: Failure, progress: Progress, counted: usage_pb2.Usage) -> Failure:
    """Fills in what `failure` costs. `counted` is our own count: the prompt's estimate and the output so far.

    A stream's last usage is final only if the vendor ended it; in a stream that was cut it says what had been
    produced when it was sent, so it competes with our count.
    """
    if not progress.sent:
        failure.charge, failure.usage = ChargeRule.CHARGE_RULE_NOTHING, None
        return failure
    cut = not progress.vendor_refused or (progress.answered and failure.reason in _BROKEN)
    if cut and progress.answered and (progress.output_counted or is_known(failure.usage)):
        failure.charge = ChargeRule.CHARGE_RULE_USAGE
        failure.usage = larger(failure.usage, counted)
        failure.vendor_cost_nanos = None
    elif is_known(failure.usage):
        failure.charge = ChargeRule.CHARGE_RULE_USAGE
        failure.usage = completed(failure.usage, counted)
    elif not cut:
        begun = progress.output_counted
        failure.charge = ChargeRule.CHARGE_RULE_USAGE if begun else ChargeRule.CHARGE_RULE_NOTHING
        failure.usage = larger(None, counted) if begun else None
    else:
        failure.charge, failure.usage = ChargeRule.CHARGE_RULE_FULL, None
    return failure
