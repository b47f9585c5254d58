"""Finds the recorded vendor traffic that lies beside the project, where it does."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "recordings"
WHY_MISSING = f"no recordings beside the project ({FOLDER.parent.name}/{FOLDER.name})"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded interaction."""

    file: str
    provider: str
    family: str
    model: str
    status: int
    interaction: dict[str, Any]

    @property
    def request_body(self) -> Any:
        """As it was sent: parsed JSON, or text."""
        return self.interaction["request"]["body"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects of the answer: one, or those of its stream."""
        response = self.interaction["response"]
        if response.get("eventstream_decoded"):
            return [frame.get("payload", frame) for frame in response["eventstream_decoded"]]
        text = (response["body"] or "").strip()
        try:
            whole = json.loads(text)
            return [whole] if isinstance(whole, dict) else [one for one in whole if isinstance(one, dict)]
        except ValueError:
            pass
        events = []
        for line in text.replace("\r", "\n").split("\n"):
            try:
                event = json.loads(line.removeprefix("data:").strip())
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events


def available() -> bool:
    """True if there are recordings."""
    return (FOLDER / "index.csv").is_file()


def recordings(*families: str) -> Iterator[Recording]:
    """Those of the families, in the index's order; all of them if none is named."""
    with (FOLDER / "index.csv").open(encoding="utf-8", newline="") as index:
        for row in csv.DictReader(index):
            if families and row["api_family"] not in families:
                continue
            path = FOLDER / row["file"]
            if not path.is_file():
                continue
            yield Recording(
                row["file"],
                row["provider"],
                row["api_family"],
                row["model"],
                int(row["status"] or 0),
                json.loads(path.read_text(encoding="utf-8")),
            )
