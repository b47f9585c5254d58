"""Runs a folder of recordings and tells, by vendor, what came out right."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.contract.providers import expectations
from tests.contract.providers.replay.exchange import (
    Player,
    byte_by_byte,
    in_process,
    player,
    seeded_cuts,
    split_at,
)
from tests.contract.providers.replay.observed import Observed, differences
from tests.contract.providers.replay.recording import SUPPORTED, UNSUPPORTED, Recording

EVERY_POSITION_BYTES_MAX = 4096


@dataclass
class Report:
    """What a run found."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """Recording → differences."""
    unsupported: dict[str, str] = field(default_factory=dict)
    """Recording → why it is not part of the contract."""
    by_vendor: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    """How many answers were compared, by way."""

    @property
    def passed(self) -> bool:
        return not self.wrong

    def lines(self) -> Iterable[str]:
        yield f"{'vendor':<22}{'recordings':>11}{'right':>7}{'wrong':>7}"
        wrong = Counter(name.split("/")[0] for name in self.wrong)
        for vendor in sorted(self.by_vendor):
            yield f"{vendor:<22}{self.by_vendor[vendor]:>11}{self.right[vendor]:>7}{wrong[vendor]:>7}"
        total = sum(self.by_vendor.values())
        right = sum(self.right.values())
        share = 100 * right / total if total else 0.0
        yield f"{'all':<22}{total:>11}{right:>7}{len(self.wrong):>7}   {share:.2f} %"
        yield ", ".join(f"{count} {way}" for way, count in self.runs.items())
        for name, why in self.unsupported.items():
            yield f"not part of the contract: {name} ({why})"
        for name, found in self.wrong.items():
            yield f"WRONG {name}"
            yield from (f"    {difference}" for difference in found[:8])


async def replay(
    recordings: Iterable[Recording],
    *,
    splits: int,
    every_position: bool = True,
    one_byte: bool = True,
    told: Callable[[str], None] = lambda _: None,
) -> Report:
    """Replays all of them. `splits` is the number of seeded ways in which each stream is cut over HTTP."""
    report = Report()
    async with player() as playing:
        for recording in recordings:
            if recording.family not in SUPPORTED:
                why = UNSUPPORTED.get(recording.family, f"nothing here speaks {recording.family}")
                report.unsupported[recording.name] = why
                continue
            vendor = recording.name.split("/")[0]
            report.by_vendor[vendor] += 1
            try:
                found = await _replay_one(recording, playing, report, splits, every_position, one_byte)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this recording's, and the others go on
                found = [f"raised {type(error).__name__}: {error}"]
            if found:
                report.wrong[recording.name] = found
                told(f"WRONG {recording.name}: {found[0]}")
            else:
                report.right[vendor] += 1
    return report


async def _replay_one(
    recording: Recording, playing: Player, report: Report, splits: int, every_position: bool, one_byte: bool
) -> list[str]:
    if recording.wire_format is None:
        return [f"nothing speaks the family {recording.family}"]
    wanted = expectations.expected(recording.data)

    def compared(observed: Observed, way: str) -> list[str]:
        report.runs[way] += 1
        return [f"{way}: {difference}" for difference in differences(wanted, observed)]

    found = compared(await playing.over_http(recording), "over HTTP")
    if found or not recording.streamed:
        return found
    body = recording.body
    if one_byte:
        found = compared(in_process(recording, byte_by_byte(body)), "one byte at a time")
    if every_position and len(body) <= EVERY_POSITION_BYTES_MAX:
        for position in range(1, len(body)):
            found = found or compared(in_process(recording, split_at(body, position)), "split at a position")
    for seed in range(splits):
        if found:
            break
        cuts = seeded_cuts(body, seed)
        found = compared(await playing.over_http(recording, cuts), "split over HTTP")
    return found
