"""A walk along a chain finds whatever was touched, wherever it was."""

import json
from dataclasses import dataclass
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from services.budget.domain.verifying import ChainWalk, Finding, KeptCounter, Totals


@dataclass
class Chain:
    rows: list[tuple[int, bytes, bytes]]
    kept: dict[int, list[int]]


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Holds and commits on a few windows, as the ledger has them."""
    rows: list[tuple[int, bytes, bytes]] = []
    kept: dict[int, list[int]] = {}
    head = b""
    for sequence in range(1, draw(st.integers(min_value=1, max_value=12)) + 1):
        windows = draw(st.lists(st.integers(min_value=1, max_value=3), min_size=1, max_size=3, unique=True))
        held = draw(st.integers(min_value=0, max_value=100))
        spent = draw(st.integers(min_value=0, max_value=100))
        for window in windows:
            totals = kept.setdefault(window, [0, 0, 0])
            totals[0] += held
            totals[1] += spent
        body = json.dumps({"n": sequence, "k": 1, "l": [[1, windows, held, spent, 0]]}).encode()
        head = sha256(head + body).digest()
        rows.append((sequence, body, head))
    return Chain(rows, kept)


def walked(chain: Chain, *, head_sequence: int | None = None, expected: bytes = b"") -> Finding:
    walk = ChainWalk(0, b"", expected)
    for row in chain.rows:
        if not walk.step(*row):
            break
    counters = [
        KeptCounter(number, f"bud_{number}", Totals(*totals), 2**62) for number, totals in chain.kept.items()
    ]
    return walk.end(counters, len(chain.rows) if head_sequence is None else head_sequence)


@given(chains())
def test_an_untouched_chain_is_intact_and_meets_every_head_it_had(chain: Chain) -> None:
    for _, _, head in chain.rows:
        assert walked(chain, expected=head).intact
    assert walked(chain).head_sequence == len(chain.rows)


@given(chains(), st.data())
def test_a_changed_byte_is_found_where_it_is(chain: Chain, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(chain.rows) - 1))
    sequence, body, hashed = chain.rows[place]
    byte = data.draw(st.integers(min_value=0, max_value=len(body) - 1))
    changed = bytes(
        [*body[:byte], body[byte] ^ data.draw(st.integers(min_value=1, max_value=255)), *body[byte + 1 :]]
    )
    chain.rows[place] = (sequence, changed, hashed)
    assert walked(chain).first_broken_sequence == sequence


@given(chains(), st.data())
def test_a_missing_entry_is_found(chain: Chain, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(chain.rows) - 1))
    whole = len(chain.rows)
    del chain.rows[place]
    finding = walked(chain, head_sequence=whole)
    assert not finding.intact
    assert finding.first_broken_sequence >= place + 1


@given(chains(), st.data())
def test_a_total_that_was_touched_is_found(chain: Chain, data: st.DataObject) -> None:
    window = data.draw(st.sampled_from(sorted(chain.kept)))
    column = data.draw(st.integers(min_value=0, max_value=2))
    chain.kept[window][column] += data.draw(st.integers(min_value=1, max_value=10))
    finding = walked(chain)
    assert not finding.intact
    assert len(finding.total_mismatches) == 1


@given(chains())
def test_a_chain_that_was_made_anew_does_not_meet_the_exported_head(chain: Chain) -> None:
    assert not walked(chain, expected=b"another" * 4 + b"!!!!").intact
