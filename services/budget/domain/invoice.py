"""A vendor's invoice as CSV: header `day,model,cost_usd`, a line for each day and model, UTF-8."""

import csv
import io
from collections import defaultdict
from datetime import date

from services.budget.domain.checks import Checks
from services.kernel.errors import InvalidRequest
from services.kernel.model_ref import ModelRef
from services.kernel.money import Money

LINES_MAX = 100_000
PROBLEMS_MAX = 20
HEADER = ["day", "model", "cost_usd"]

Invoice = dict[tuple[str, str], int]
"""Nano-USD by (day as YYYY-MM-DD, model as "provider/model"); lines of one day and model are added up."""


def read_invoice(field: str, content: bytes, provider: str) -> Invoice:
    """The invoice in `content`. A model may be given with or without its provider.

    Raises InvalidRequest with every line that is wrong (the first PROBLEMS_MAX of them).
    """
    checks = Checks()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest.of(field, "is not UTF-8") from None
    rows = csv.reader(io.StringIO(text))
    header = [name.strip().lower() for name in next(rows, [])]
    if header != HEADER:
        raise InvalidRequest.of(field, f"must begin with the line {','.join(HEADER)}")
    invoice: Invoice = defaultdict(int)
    try:
        for number, row in enumerate(rows, 2):
            if number > LINES_MAX + 1:
                raise InvalidRequest.of(field, f"has more than {LINES_MAX:,} lines")
            if row:
                _line(checks, f"{field}[line {number}]", row, provider, invoice)
            if len(checks.found) >= PROBLEMS_MAX:
                break
    except csv.Error as error:
        checks.wrong(field, f"is not CSV: {error}")
    checks.done()
    return dict(invoice)


def _line(checks: Checks, where: str, row: list[str], provider: str, invoice: Invoice) -> None:
    if len(row) != len(HEADER):
        checks.wrong(where, f"has {len(row)} columns, not {len(HEADER)}")
        return
    day, model, cost = (cell.strip() for cell in row)
    try:
        day = date.fromisoformat(day).isoformat()
        name = str(ModelRef.parse(model if model.startswith(f"{provider}/") else f"{provider}/{model}"))
        nanos = Money.parse(cost).nanos
    except ValueError as error:
        checks.wrong(where, str(error))
        return
    invoice[day, name] += nanos
