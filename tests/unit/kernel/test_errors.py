from dataclasses import dataclass
from enum import Enum

import pytest

from services.kernel.errors import Category, FieldViolation, InvalidRequest, StoreUnavailable, TurnpikeError
from services.kernel.model_ref import ModelRef


class Colour(Enum):
    RED = "red"


@dataclass(eq=False)
class Example(TurnpikeError):
    category = Category.FAILED_PRECONDITION
    reason = "EXAMPLE"
    model: ModelRef
    colour: Colour
    final: bool
    left: int | None
    several: tuple[int, ...] = (1, 2)

    @property
    def message(self) -> str:
        return f"About {self.model}."


def test_facts_become_metadata_and_log_fields() -> None:
    error = Example(ModelRef("openai", "gpt"), Colour.RED, final=True, left=None)
    assert error.metadata == {"model": "openai/gpt", "colour": "red", "final": "true"}
    assert error.log_fields["colour"] is Colour.RED
    assert "left" not in error.log_fields, "None is unknown, not a value"
    assert str(error) == "About openai/gpt."


def test_it_is_an_exception_like_any_other() -> None:
    with pytest.raises(TurnpikeError, match="About openai/gpt") as caught:
        raise Example(ModelRef("openai", "gpt"), Colour.RED, final=False, left=1) from ValueError("cause")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.category is Category.FAILED_PRECONDITION
    assert hash(caught.value)


def test_two_errors_with_the_same_facts_are_two_errors() -> None:
    assert StoreUnavailable("postgres") != StoreUnavailable("postgres")


def test_an_invalid_request_names_every_field() -> None:
    error = InvalidRequest((FieldViolation("a", "is missing"), FieldViolation("b.c", "must be positive")))
    assert error.message == "a: is missing; b.c: must be positive"
    assert error.violations[1].field == "b.c"
    assert error.metadata == {}
    assert InvalidRequest.of("a", "is missing").violations == (FieldViolation("a", "is missing"),)
