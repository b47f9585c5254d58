from dataclasses import dataclass

from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from services.chassis import status
from services.chassis.status import DETAILS_BYTES_MAX, RemoteError, error_from_status, to_status
from services.kernel.errors import Category, FieldViolation, InvalidRequest, StoreUnavailable, TurnpikeError


@dataclass(eq=False)
class WithDetail(TurnpikeError):
    category = Category.RESOURCE_EXHAUSTED
    reason = "BUDGET_EXHAUSTED"
    text: str

    @property
    def message(self) -> str:
        return "no room"


@status.details.register
def _(error: WithDetail) -> list[StringValue]:
    return [StringValue(value=error.text)]


def kinds(error: TurnpikeError) -> list[str]:
    return [detail.TypeName() for detail in to_status(error).details]


def test_one_error_info_and_what_helps() -> None:
    assert kinds(StoreUnavailable("postgres")) == [
        ErrorInfo.DESCRIPTOR.full_name,
        RetryInfo.DESCRIPTOR.full_name,
    ]
    assert kinds(InvalidRequest.of("a", "is missing")) == [
        ErrorInfo.DESCRIPTOR.full_name,
        BadRequest.DESCRIPTOR.full_name,
    ]


def test_an_error_survives_the_way_there_and_on() -> None:
    first = error_from_status(to_status(WithDetail("figures")), "budget")
    assert (first.category, first.reason, first.message) == (
        Category.RESOURCE_EXHAUSTED,
        "BUDGET_EXHAUSTED",
        "no room",
    )
    assert first.metadata == {"text": "figures"}
    second = error_from_status(to_status(first), "router")
    detail = second.detail(StringValue)
    assert detail is not None
    assert detail.value == "figures"
    assert second.metadata == first.metadata
    assert len(to_status(second).details) == 2, "one ErrorInfo, one detail, however often it is passed on"


def test_violations_and_hints_survive() -> None:
    error = error_from_status(to_status(InvalidRequest((FieldViolation("a.b[0]", "is missing"),))), "x")
    assert error.violations == (FieldViolation("a.b[0]", "is missing"),)
    assert error_from_status(to_status(StoreUnavailable("postgres")), "x").retry_after_s == 1.0


def test_it_fits_into_headers_and_never_loses_its_reason() -> None:
    error = RemoteError(
        Category.INTERNAL, "INTERNAL", "x", "m" * 5000, {f"fact{n}": "v" * 5000 for n in range(3)}
    )
    assert to_status(error).ByteSize() <= DETAILS_BYTES_MAX
    long = WithDetail("x" * 10_000)
    found = to_status(long)
    assert found.ByteSize() <= DETAILS_BYTES_MAX
    assert found.details[0].TypeName() == ErrorInfo.DESCRIPTOR.full_name
