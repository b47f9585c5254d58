"""A file of ledger entries that proves itself: JSON lines, the first of where it begins, the last of where it ends.

What is checked is docs/ledger.md's rule of hashes, and that every checkpoint in the files says what the entries before
it come to. No other part of Turnpike is needed for it.
"""

import json
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from turnpike.budget.v1 import budget_admin_pb2 as pb

CHECKPOINT = 10
FORMAT = "turnpike ledger 1"

Totals = dict[int, tuple[int, int, int]]
"""Window number → what is held, spent and over."""


class Broken(Exception):
    """The file, or the chain in it, is not whole. Says where."""


@dataclass(slots=True)
class Chain:
    """A walk along entries; files that follow each other are walked as one."""

    sequence: int = 0
    head: bytes = b""
    entries: int = 0
    totals: Totals = field(default_factory=dict)
    from_start: bool = False
    ends: dict[int, int | None] = field(default_factory=dict)
    """Window number → when it ends, in microseconds; None: never."""
    stood: dict[int, Totals] = field(default_factory=dict)
    """Totals where a file ended, which a checkpoint later in the chain may be about."""
    unsaid: set[int] = field(default_factory=set)
    """Windows that the parts of the checkpoint so far do not speak of."""

    def step(self, sequence: int, body: bytes, hashed: bytes) -> None:
        """Takes the next entry. Raises Broken."""
        if sequence != self.sequence + 1:
            raise Broken(f"entry {self.sequence + 1} is missing")
        if sha256(self.head + body).digest() != hashed:
            raise Broken(f"entry {sequence}: its hash is not that of its content after the entry before")
        try:
            fields = json.loads(body)
            if fields["n"] != sequence:
                raise Broken(f"entry {sequence} says that it is {fields['n']}")
            for number, _, _, _, end, *_ in fields.get("w", ()):
                self.ends[number] = end
            for _, numbers, *moved in fields.get("l", ()):
                for number in numbers:
                    before = self.totals.get(number, (0, 0, 0))
                    held, spent, overage = (a + b for a, b in zip(before, moved, strict=True))
                    self.totals[number] = held, spent, overage
            if fields["k"] == CHECKPOINT:
                self._compare(fields)
        except (ValueError, KeyError, TypeError) as wrong:
            raise Broken(f"entry {sequence}: its content cannot be read") from wrong
        self.sequence, self.head, self.entries = sequence, hashed, self.entries + 1

    def _compare(self, fields: dict[str, Any]) -> None:
        until, part, parts = fields["cp"]
        known = self.stood.get(until)
        if known is None or not self.from_start:
            return
        if part == 1:
            self.unsaid = set(known)
        for number, _, _, _, _, _, *figures in fields["ws"]:
            self.unsaid.discard(number)
            if known.get(number, (0, 0, 0)) != tuple(figures[:3]):
                raise Broken(f"entry {fields['n']}: window {number} stood otherwise after entry {until}")
        for number in self.unsaid if part == parts else ():
            end = self.ends[number]
            if end is None or end > fields["ct"]:
                raise Broken(f"entry {fields['n']}: window {number} is left out, which was not over")

    def ends_a_file(self) -> None:
        """Remembers how windows stand here."""
        self.stood[self.sequence] = dict(self.totals)


async def write(path: Path, organisation_id: str, pages: AsyncIterator[pb.ExportLedgerResponse]) -> Chain:
    """Writes an export, checking it on the way. Raises Broken.

    The file has its name only when it is whole and on disk: what it holds may be removed elsewhere.
    """
    partial = path.with_name(path.name + ".partial")
    chain = Chain()
    with partial.open("w", encoding="utf-8") as file:
        async for page in pages:
            if not chain.entries and not page.entries:
                chain.sequence, chain.head = page.after_sequence, page.previous_hash
                head = {
                    "format": FORMAT,
                    "organisation_id": organisation_id,
                    "after": page.after_sequence,
                    "hash": page.previous_hash.hex(),
                }
                file.write(json.dumps(head) + "\n")
            for entry in page.entries:
                chain.step(entry.sequence, entry.body, entry.hash)
                line = {"n": entry.sequence, "hash": entry.hash.hex(), "body": entry.body.decode()}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.write(json.dumps({"until": chain.sequence, "entries": chain.entries}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return chain


def check(paths: Iterable[Path]) -> Chain:
    """Walks files that follow each other. Raises Broken."""
    chain, organisation_id = Chain(), ""
    for place, path in enumerate(paths):
        lines = (json.loads(line) for line in path.open(encoding="utf-8"))
        try:
            head = next(lines)
            begins = head["after"], bytes.fromhex(head["hash"])
            if head["format"] != FORMAT or (place and head["organisation_id"] != organisation_id):
                raise Broken(f"{path}: is of another organisation or form")
            if place and begins != (chain.sequence, chain.head):
                raise Broken(
                    f"{path}: does not follow the file before, which ends with entry {chain.sequence}"
                )
            if not place:
                organisation_id = head["organisation_id"]
                chain.sequence, chain.head = begins
                chain.from_start = chain.sequence == 0
            _walk(chain, lines)
        except Broken as broken:
            raise Broken(f"{path}: {broken}") from broken
        except (StopIteration, ValueError, KeyError, TypeError) as wrong:
            raise Broken(f"{path}: cannot be read after entry {chain.sequence}") from wrong
        chain.ends_a_file()
    return chain


def _walk(chain: Chain, lines: Iterable[dict[str, Any]]) -> None:
    before = chain.entries
    for line in lines:
        if "until" in line:
            if (line["until"], line["entries"]) != (chain.sequence, chain.entries - before):
                raise Broken(f"should end with entry {line['until']}, ends with {chain.sequence}")
            return
        chain.step(line["n"], line["body"].encode(), bytes.fromhex(line["hash"]))
    raise Broken(f"breaks off after entry {chain.sequence}")
