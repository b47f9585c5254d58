"""What goes wrong where and when: a schedule drawn from a seed, with somebody sound at every moment. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

SLOT_S: Final = 10.0
"""How long a vendor stays in one condition."""

VENDORS: Final = ("first", "second", "third", "fourth", "fifth")
"""In the order of their quality; at one price, so that this is the order in which the router prefers them."""

FORBIDDEN, INCAPABLE = "forbidden", "incapable"
"""Two more, better and always sound: no grant allows the one, the other's context is too small for the requests."""

SOUND = "sound"
CONDITIONS: Final[Mapping[str, tuple[float, tuple[dict[str, Any], ...]]]] = {
    # How likely it is beside the others, and the simulator's rules while it lasts.
    "stalling": (0.28, ({"fault": "stall", "probability": 0.45},)),
    "truncating": (0.28, ({"fault": "truncate", "probability": 0.6},)),
    "limiting": (0.14, ({"fault": "rate_limit", "retry_after_s": 2, "probability": 0.9},)),
    "failing": (0.1, ({"fault": "server_error", "probability": 0.8},)),
    "down": (0.12, ({"fault": "refuse"},)),
    "slow": (0.08, ({"pace": {"first_token_ms": 6_000, "tokens_per_s": 200}},)),
}
CUT_LATE: Final = {"fault": "truncate", "after_tokens": 5, "probability": 0.02}
"""What happens to sound ones, too: an answer is cut after its first tokens. Nobody can serve such a stream's caller any
more; what is asked is that it ends typed, and that nothing of another model follows."""

LONG_S: Final = 40.0
"""The vendor that is preferred is down for so long once in a run: breakers rest longest then."""

BEFORE_LONG_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Window:
    """A vendor's condition for some time, in seconds since the scenario began."""

    vendor: str
    condition: str
    from_s: float
    until_s: float


def schedule(seed: int, seconds: float) -> list[Window]:
    """Conditions of every vendor for the whole run; after it everybody is sound."""
    draw = Random(seed)
    names, weights = list(CONDITIONS), [weight for weight, _ in CONDITIONS.values()]
    windows: list[Window] = []
    begun_s = 0.0
    while begun_s < seconds:
        until_s = min(begun_s + SLOT_S, seconds)
        long = BEFORE_LONG_S <= begun_s < BEFORE_LONG_S + LONG_S
        able = VENDORS[1:] if long else VENDORS
        sound = set(draw.sample(able, draw.choice((1, 1, 2))))
        for vendor in VENDORS:
            condition = SOUND if vendor in sound else draw.choices(names, weights)[0]
            if long and vendor == VENDORS[0]:
                condition = "down"
            windows.append(Window(vendor, condition, begun_s, until_s))
        begun_s = until_s
    return windows


def rules(windows: Sequence[Window]) -> list[dict[str, Any]]:
    """The simulator's rules for a schedule."""
    written: list[dict[str, Any]] = []
    for window in windows:
        if window.condition != SOUND:
            place = {"instances": [window.vendor], "from_s": window.from_s, "until_s": window.until_s}
            written += ({**place, **rule} for rule in CONDITIONS[window.condition][1])
    return [*written, {**CUT_LATE, "instances": list(VENDORS)}]


def recoveries(windows: Sequence[Window]) -> list[tuple[str, float, float]]:
    """When a vendor became sound after it was not, and until when it stayed so, while no better one was sound."""
    found = []
    ordered = sorted(windows, key=lambda window: window.from_s)
    for window in ordered:
        better = VENDORS[: VENDORS.index(window.vendor)]
        before = [w for w in ordered if w.vendor == window.vendor and w.until_s == window.from_s]
        rivals = [
            w for w in ordered if w.vendor in better and w.condition == SOUND and w.from_s == window.from_s
        ]
        if window.condition == SOUND and before and before[0].condition != SOUND and not rivals:
            found.append((window.vendor, window.from_s, window.until_s))
    return found
