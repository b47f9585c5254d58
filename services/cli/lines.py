"""Labelled lines: aligned and folded on a terminal, one plain line each everywhere else."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

LABEL_WIDTH = 9


@dataclass(frozen=True, slots=True)
class Row:
    """One line. An empty label continues the one above."""

    label: str
    text: str
    style: str = ""


def show(console: Console, rows: Iterable[Row]) -> None:
    """Print the rows."""
    if not console.is_terminal:
        for row in rows:
            console.print(
                f"{row.label:<{LABEL_WIDTH}} {row.text}", soft_wrap=True, markup=False, highlight=False
            )
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=LABEL_WIDTH)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(row.label, Text(row.text, style=row.style))
    console.print(table)
