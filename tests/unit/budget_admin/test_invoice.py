import pytest

from services.budget.domain.invoice import read_invoice
from services.kernel.errors import InvalidRequest


def read(text: str) -> dict[tuple[str, str], int]:
    return read_invoice("csv", text.encode(), "openai")


def test_lines_of_one_day_and_model_are_added_up() -> None:
    invoice = read(
        "day,model,cost_usd\r\n2026-01-31,gpt-5.4,1.5\r\n2026-01-31,openai/gpt-5.4,0.000000001\r\n\r\n"
        '2026-02-01,"gpt-5.4",-2\r\n'
    )
    assert invoice == {
        ("2026-01-31", "openai/gpt-5.4"): 1_500_000_001,
        ("2026-02-01", "openai/gpt-5.4"): -2_000_000_000,
    }


def test_a_byte_order_mark_and_a_header_in_capitals_do_no_harm() -> None:
    assert read("\ufeffDay, Model, Cost_USD\n2026-01-31,gpt,1\n") == {("2026-01-31", "openai/gpt"): 10**9}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must begin with the line"),
        ("day;model;cost_usd\n", "must begin with the line"),
        ("day,model,cost_usd\n2026-02-30,gpt,1\n", "line 2"),
        ("day,model,cost_usd\n2026-01-01,gpt,1e3\n", "line 2"),
        ("day,model,cost_usd\n2026-01-01,gpt,NaN\n", "line 2"),
        ("day,model,cost_usd\n2026-01-01,gpt,1\n2026-01-01,g p t,1\n", "line 3"),
        ("day,model,cost_usd\n2026-01-01,gpt\n", "has 2 columns"),
        ("day,model,cost_usd\n2026-01-01,gpt,99999999999\n", "line 2"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read(text)


def test_other_encodings_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        read_invoice("csv", "day,model,cost_usd\n".encode("utf-16"), "openai")
