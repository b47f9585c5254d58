import pytest

from services.kernel.money import NANOS_MAX, NANOS_MIN, Money, MoneyOutOfRange, checked_nanos, for_people


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("-0.000000001", -1),
        ("+3", 3_000_000_000),
        ("9223372036.854775807", NANOS_MAX),
        ("-9223372036.854775808", NANOS_MIN),
    ],
)
def test_amounts_are_read_exactly(text: str, nanos: int) -> None:
    assert Money.parse(text).nanos == nanos


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "Infinity",
        "-inf",
        "1e3",
        "0x10",
        "1.",
        ".5",
        "1.0000000001",
        "1,000",
        "$5",
        "--1",
        "٣",
        "9223372036.854775808",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|fit"):
        Money.parse(text)


@pytest.mark.parametrize("wrong", [1.0, True, "1", None])
def test_only_whole_numbers_are_amounts(wrong: object) -> None:
    with pytest.raises(TypeError):
        checked_nanos(wrong)  # type: ignore[arg-type]


def test_sums_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MoneyOutOfRange):
        Money(NANOS_MAX) + Money(1)
    with pytest.raises(MoneyOutOfRange):
        -Money(NANOS_MIN)
    assert Money(5) - Money(7) == Money(-2)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (12_500_000_000, "$12.50"),
        (1_234_567_890_000_000, "$1,234,567.89"),
        (12_345, "$0.000012"),
        (1, "$0.000000001"),
        (-250_000_000, "-$0.25"),
    ],
)
def test_people_read_as_many_decimals_as_it_takes(nanos: int, text: str) -> None:
    assert for_people(nanos) == text
