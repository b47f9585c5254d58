"""Checks of answers: what has the form that was asked for, and what two answers are compared by."""

import pytest

from services.router.domain.checks import (
    ACCEPTED,
    ANSWER_CHARS_MAX,
    gist,
    json_verdict,
    number_of,
    option_of,
)

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}
NO_SCHEMA = "its schema cannot be applied: SchemaError"
DOUBLING = {
    "anyOf": [
        {"items": {"$ref": "#"}, "type": "string"},
        {"items": {"$ref": "#"}, "minItems": 5},
        {"items": {"$ref": "#"}, "maxItems": 0},
    ]
}


@pytest.mark.parametrize(
    ("text", "schema", "verdict"),
    [
        ('{"name": "Ann", "age": 3}', SCHEMA, ACCEPTED),
        (' {"name": "Ann"}\n', SCHEMA, ACCEPTED),
        ('{"name": "Ann", "age": -1}', SCHEMA, "it breaks `minimum` of its schema"),
        ("{}", SCHEMA, "it breaks `required` of its schema"),
        ("Sure: {}", SCHEMA, "it is not JSON: JSONDecodeError"),
        ('{"a": 1}', None, ACCEPTED),
        ("[1]", None, "it is no JSON object"),
        ("[" * 100_000, None, f"it has more than {ANSWER_CHARS_MAX} characters"),
        ("[" * 50_000, None, "it is not JSON: RecursionError"),
        ("1", {"type": 3}, NO_SCHEMA),
        ("1", {"type": "any"}, NO_SCHEMA),
        ('{"a": 1}', {"properties": {"a": {"type": "str"}}}, NO_SCHEMA),
        ('{"a": 1}', {"properties": ["a"]}, NO_SCHEMA),
        ("1", {"$ref": 5}, NO_SCHEMA),
        ("1", {"multipleOf": 0}, NO_SCHEMA),
        ("1e999", {"multipleOf": 0.5}, "its schema cannot be applied: OverflowError"),
        ("1" * 400, {"multipleOf": 0.5}, "its schema cannot be applied: OverflowError"),
        ("[1]", {"items": 3}, NO_SCHEMA),
        ("[1, 1.0]", {"uniqueItems": True}, "it breaks `uniqueItems` of its schema"),
        ("[1, true]", {"uniqueItems": True}, ACCEPTED),
        ('{"a": NaN}', None, "it is not JSON: ValueError"),
        (
            "1",
            {"$ref": "https://elsewhere.example/schema"},
            "its schema cannot be applied: _WrappedReferencingError",
        ),
        ("[" * 22 + "]" * 22, DOUBLING, "its schema cannot be applied: _TooManyReferences"),
        ('"' + "a" * 40 + '!"', {"pattern": "(a+)+$"}, ACCEPTED),
    ],
)
def test_json_is_checked_within_bounds_and_without_repeating_it(
    text: str, schema: dict[str, object] | None, verdict: str
) -> None:
    assert json_verdict(text, schema) == verdict


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("The answer is B.", "B"),
        ("b", "B"),
        ("A or B", None),
        ("Bad", None),
        ("", None),
    ],
)
def test_one_option_must_be_named(text: str, option: str | None) -> None:
    assert option_of(text, ("A", "B")) == option


def test_an_option_within_another_does_not_count() -> None:
    assert option_of("I am not sure.", ("sure", "not sure")) == "not sure"


@pytest.mark.parametrize(
    ("text", "number"), [("so x = 1,234.50", "1234.5"), ("3 of 4", "4"), ("-2e3", "-2E+3"), ("none", None)]
)
def test_the_last_number_counts(text: str, number: str | None) -> None:
    found = number_of(text)
    assert (None if found is None else str(found)) == number


def test_two_answers_are_compared_by_what_they_say() -> None:
    assert gist("It is 42.", ()) == gist("42", ())
    assert gist("Paris.", ()) == gist(" paris", ())
    assert gist("Yes!", ("yes", "no")) == gist("yes, of course", ("yes", "no"))
    assert gist("maybe", ("yes", "no")) is None
