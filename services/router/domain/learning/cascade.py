"""Whether to ask a cheap model first and check its answer: expected cost and quality of both ways, as pure arithmetic.

A check is described by two rates: how often it accepts a right answer, and how often a wrong one. Checking an answer
beats reading the prompt where answers can be compared or tested, and loses money where they cannot.
"""

from dataclasses import dataclass

SAVING_MIN = (
    0.05  # share of the direct cost a cascade must save; less is not worth the second call's latency.
)
QUALITY_LOSS_MAX = 0.01  # what quality a cascade may be expected to lose against the direct call.
HARDER_AFTER_REJECTION = (
    0.15  # how much worse the strong model does on what the check rejected: such prompts are hard.
)


@dataclass(frozen=True, slots=True)
class Check:
    """accepts_right, accepts_wrong: rates in 0..1.  cost: of checking itself, in the unit of the calls' costs."""

    name: str
    accepts_right: float
    accepts_wrong: float
    cost: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.accepts_right <= 1 and 0 <= self.accepts_wrong <= 1 and self.cost >= 0):
            raise ValueError(f"rates lie in 0..1 and a cost is not negative: {self}")


CHECKS = {
    "schema": Check("schema", accepts_right=0.99, accepts_wrong=0.70),
    "parse": Check("parse", accepts_right=0.99, accepts_wrong=0.80),
    "tests": Check("tests", accepts_right=0.97, accepts_wrong=0.10),
}
"""Where to start before a project's own answers have taught better; assumptions, not measurements."""


@dataclass(frozen=True, slots=True)
class Way:
    """Expected cost of a request by one way, in the unit given, and expected quality."""

    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class CascadeDecision:
    """use: whether to cascade.  reason: a sentence.  escalation: probability that the strong model is called."""

    use: bool
    reason: str
    direct: Way
    cascade: Way
    escalation: float


def agreement(cheap: float, second: float, second_cost: float, wrong_alike: float) -> Check:
    """The check "two cheap models agree". wrong_alike: how often both give the same answer when both are wrong.

    Right answers are taken for as independent as their qualities say; wrong ones agree with rate `wrong_alike`
    (about 1 in 4 for four options, near 0 for open numbers).
    """
    return Check(
        "agreement", accepts_right=second, accepts_wrong=(1 - second) * wrong_alike, cost=second_cost
    )


def decide(
    cheap: Way, strong: Way, check: Check | None, *, quality_min: float | None = None
) -> CascadeDecision:
    """Compares calling `strong` with calling `cheap`, checking, and escalating what the check rejects.

    Costs are expected costs of one call, in one unit. check None: the answer cannot be checked.
    quality_min: a floor in force; the cascade must be expected to keep it.
    """
    if check is None:
        return CascadeDecision(False, "the answer cannot be checked", strong, cheap, 0.0)
    accepted_right = cheap.quality * check.accepts_right
    accepted = accepted_right + (1 - cheap.quality) * check.accepts_wrong
    escalation = 1 - accepted
    strong_after = strong.quality * (1 - HARDER_AFTER_REJECTION)
    cascade = Way(
        cost=cheap.cost + check.cost + escalation * strong.cost,
        quality=accepted_right + escalation * strong_after,
    )
    if cascade.cost > strong.cost * (1 - SAVING_MIN):
        reason = f"asking twice costs {cascade.cost:.6g} on average, the direct call {strong.cost:.6g}"
    elif quality_min is not None and cascade.quality < quality_min:
        reason = f"expected quality {cascade.quality:.3f} misses the floor {quality_min:.3f}"
    elif cascade.quality < strong.quality - QUALITY_LOSS_MAX:
        reason = f"expected quality {cascade.quality:.3f} against {strong.quality:.3f} of the direct call"
    else:
        share = cascade.cost / strong.cost if strong.cost else 0.0
        reason = f"{share:.0%} of the direct call's cost, {escalation:.0%} escalated"
        return CascadeDecision(True, reason, strong, cascade, escalation)
    return CascadeDecision(False, reason, strong, cascade, escalation)
