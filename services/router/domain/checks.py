"""Checks of an answer that need no reader: JSON, JSON of a schema, one of some options, a number, the same as another.

Pure functions of text. A check that passes says that the answer has the form that was asked for, or that two models
gave the same one; it does not say that it is right.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NoReturn

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from services.router.domain.learning.cascade import CHECKS, Check

ACCEPTED: Final = "accepted"

ANSWER_CHARS_MAX: Final = 64 * 1024
"""Longer answers are not looked at: validation takes time that other requests wait for."""

REFERENCES_MAX: Final = 2_000
"""References that one validation follows: a schema that refers to itself twice doubles the work at each level."""

SCHEMAS_KEPT: Final = 256
"""Schemas that are known to be sound: applications send the same ones again and again."""

RATES: Final[Mapping[str, Check]] = {
    **CHECKS,
    "option": Check("option", accepts_right=0.99, accepts_wrong=0.95),
    "number": Check("number", accepts_right=0.99, accepts_wrong=0.95),
}
"""How often each accepts a right and a wrong answer, until outcomes teach better: assumptions, not measurements.
A form alone says little of a choice or a number; two models that agree say more."""

WRONG_ALIKE_TEXT: Final = 0.05
"""How often two models that are both wrong give the same number or words; of options one in so many."""


def json_verdict(text: str, schema: Mapping[str, Any] | None) -> str:
    """ACCEPTED, or why the text is not JSON, or not JSON of the schema, without a word of the text.

    What may take a stranger's schema for ever is not checked: patterns, and what earlier keywords left unevaluated.
    References lead nowhere but into the schema itself.
    """
    if len(text) > ANSWER_CHARS_MAX:
        return f"it has more than {ANSWER_CHARS_MAX} characters"
    try:
        found = json.loads(text, parse_float=_number, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {type(error).__name__}"
    if schema is None:
        return ACCEPTED if isinstance(found, dict) else "it is no JSON object"
    try:
        _check_schema(json.dumps(schema))
        first = next(_validator(schema).iter_errors(found), None)
    except (Unresolvable, SchemaError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
        return f"its schema cannot be applied: {type(error).__name__}"
    return ACCEPTED if first is None else f"it breaks `{first.validator}` of its schema"


@lru_cache(maxsize=SCHEMAS_KEPT)
def _check_schema(schema: str) -> None:
    """Raises SchemaError for what is no schema: validators fail at it in any way there is. Takes milliseconds, once."""
    if len(schema) > ANSWER_CHARS_MAX:
        raise SchemaError("it is too long")
    Draft202012Validator.check_schema(json.loads(schema))


def _number(text: str) -> int | float:
    """A number with a fraction or an exponent; whole ones are alike however they are written, as JSON Schema has it."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _unique(
    validator: Any, wanted: bool, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """`uniqueItems` in linear time; the library compares each item with each."""
    if wanted and isinstance(instance, list):
        written = {json.dumps(item, sort_keys=True) for item in instance}
        if len(written) < len(instance):
            yield ValidationError("items repeat")


class _TooManyReferences(ValueError):
    """A validation that follows more references than REFERENCES_MAX."""


def _validator(schema: Mapping[str, Any]) -> Any:
    followed = 0

    def unchecked(*_: object) -> Iterator[ValidationError]:
        return iter(())

    def counted(keyword: str) -> Any:
        original = Draft202012Validator.VALIDATORS[keyword]

        def follow(*given: Any) -> Iterator[ValidationError]:
            nonlocal followed
            followed += 1
            if followed > REFERENCES_MAX:
                raise _TooManyReferences
            yield from original(*given) or ()

        return follow

    bounded = validators.extend(
        Draft202012Validator,
        {
            "pattern": unchecked,
            "patternProperties": unchecked,
            "unevaluatedItems": unchecked,
            "unevaluatedProperties": unchecked,
            "uniqueItems": _unique,
            "$ref": counted("$ref"),
            "$dynamicRef": counted("$dynamicRef"),
        },
    )
    return bounded(schema, registry=Registry())


def option_of(text: str, options: Sequence[str]) -> str | None:
    """The one option that the text names as a word, whatever the case; None: none of them, or several."""
    said = [
        option for option in options if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text, re.IGNORECASE)
    ]
    # "not sure" names "sure", too: what is within another named option does not count.
    whole = [one for one in said if not any(one != other and one in other for other in said)]
    return whole[0] if len(whole) == 1 else None


_NUMBER = re.compile(r"[-+]?\d[\d,_]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")


def number_of(text: str) -> Decimal | None:
    """The last number in the text, thousands' marks left out; None: there is none."""
    found = _NUMBER.findall(text[-ANSWER_CHARS_MAX:])
    if not found:
        return None
    try:
        return Decimal(re.sub(r"[,_]", "", found[-1])).normalize()
    except InvalidOperation:
        return None


def gist(text: str, options: Sequence[str]) -> str | None:
    """What two answers are compared by: the option, else the last number, else the words. None: nothing to compare."""
    if options:
        return option_of(text, options)
    number = number_of(text)
    if number is not None:
        return str(number)
    words = " ".join(re.findall(r"\w+", text.casefold()))
    return words or None
