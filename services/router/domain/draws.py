"""Draws that follow from a decision's seed alone, so a replay draws alike: SplitMix64 (Steele, Lea, Flood 2014)."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_TO_UNIT = 2.0**-53


def unit(seed: int, index: int) -> float:
    """The draw number `index` of a seed, uniform in [0, 1)."""
    z = (seed + (index + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) * _TO_UNIT


def pick(weights: list[float], draw: float) -> int:
    """The index that `draw` falls on when the weights are laid end to end; weights are not negative, one is above 0."""
    left = draw * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return max(index for index, weight in enumerate(weights) if weight > 0)
