from dataclasses import dataclass

from structlog.testing import capture_logs

from services.chassis.call import Call, CallKind
from services.chassis.concerns import _access_line
from services.kernel.errors import Category, TurnpikeError


@dataclass(eq=False)
class Relayed(TurnpikeError):
    """An error whose facts are named as the log line's own words are."""

    category: Category  # type: ignore[misc]
    reason: str  # type: ignore[misc]
    error: str
    ms: float
    left: int

    @property
    def message(self) -> str:
        return "It was refused elsewhere."


def test_facts_named_as_the_lines_own_words_give_way_to_them() -> None:
    call = Call("/turnpike.test.v1.Service/Method", CallKind.UNARY, {}, "", None)
    call.fields["request_id"] = "r-1"
    with capture_logs() as lines:
        _access_line(call, Relayed(Category.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED", "inner", -1.0, 7), 0.5)
    (line,) = lines
    assert line["status"] == "RESOURCE_EXHAUSTED"
    assert line["reason"] == "BUDGET_EXHAUSTED"
    assert line["error"] == "It was refused elsewhere."
    assert line["ms"] == 500
    assert line["left"] == 7
    assert line["request_id"] == "r-1"
