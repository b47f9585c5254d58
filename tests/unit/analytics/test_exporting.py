"""Rows of an exported file: exact amounts, unknown left empty, quotes where needed."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.domain.exporting import ExportFormat, decimal, header, rows
from tests.support.usage import usage


def table(wanted: ExportFormat, *entries: object) -> list[dict[str, str]]:
    written = header(wanted) + rows(wanted, entries)  # type: ignore[arg-type]
    return list(csv.DictReader(io.StringIO(written.decode(), newline="")))


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_decimal_is_the_amount_exactly(nanos: int) -> None:
    assert Decimal(decimal(nanos)) == Decimal(nanos).scaleb(-9)


def test_an_entry_is_read_back_from_csv_as_it_was() -> None:
    strange = 'a "quoted", name\r\nover two lines'
    (row,) = table(ExportFormat.CSV, usage(7, cost_nanos=1, user_id="u:1", dimensions={"note": strange}))
    assert (row["cost"], row["cost_nanos"], row["ledger_sequence"]) == ("0.000000001", "1", "7")
    assert (row["provider"], row["input_tokens"], row["output_tokens"]) == ("openai", "3", "")
    assert json.loads(row["dimensions"]) == {"note": strange}


def test_json_lines_keep_unknown_apart_from_zero() -> None:
    assert header(ExportFormat.JSON_LINES) == b""
    lines = rows(ExportFormat.JSON_LINES, [usage(1), usage(2, output_tokens=0)]).decode().splitlines()
    assert [json.loads(line)["output_tokens"] for line in lines] == [None, 0]


@pytest.mark.parametrize(
    ("at", "start", "end"),
    [
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), "2026-12-01", "2027-01-01"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01", "2026-02-01"),
    ],
)
def test_focus_names_the_month_and_has_charges_alone(at: datetime, start: str, end: str) -> None:
    released = usage(2, at, kind="release", cost_nanos=0)
    (row,) = table(ExportFormat.FOCUS_CSV, usage(1, at, output_tokens=4, cost_nanos=-5), released)
    assert row["BillingPeriodStart"] == f"{start}T00:00:00.000000Z"
    assert row["BillingPeriodEnd"] == f"{end}T00:00:00.000000Z"
    assert row["BilledCost"] == row["ListCost"] == "-0.000000005"
    assert (row["ConsumedQuantity"], row["ConsumedUnit"], row["ChargeCategory"]) == ("7", "Tokens", "Usage")
    assert json.loads(row["Tags"]) == {
        "task": "chat",
        "turnpike/key_id": "key_1",
        "turnpike/project_id": "proj_1",
    }
