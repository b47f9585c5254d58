"""How endpoints fare at this moment: health, circuit breakers and measured speed. Published once a second."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from services.router.domain.catalogue import Health

TTFT_S_DEFAULT = 0.8
TTFT_S_SPREAD_DEFAULT = 0.8
TOKENS_PER_S_DEFAULT = 60.0
FAILURE_RATE_DEFAULT = 0.02
"""What an endpoint that nobody has measured is thought to be: an ordinary vendor's, and uncertain."""


class BreakerState(IntEnum):
    """Whether an endpoint is tried."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2

    @property
    def spelling(self) -> str:
        """The contract's word."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of an endpoint of late; old measurements weigh less."""

    ttft_s: float = TTFT_S_DEFAULT
    """Mean time to the first token."""
    ttft_s_spread: float = TTFT_S_SPREAD_DEFAULT
    """Standard deviation of that mean: how far it can be trusted."""
    tokens_per_s: float = TOKENS_PER_S_DEFAULT
    failure_rate: float = FAILURE_RATE_DEFAULT
    """Share of attempts that fail."""
    samples: float = 0.0
    """How many measurements that is worth today."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One endpoint at this moment."""

    health: Health = Health.UNKNOWN
    message: str = ""
    retry_at_s: float | None = None
    """Unix seconds until which it rests. None: no rest."""
    breaker: BreakerState = BreakerState.CLOSED
    speed: Speed = Speed()


@dataclass(frozen=True, slots=True)
class Conditions:
    """All endpoints at one moment, by endpoint id; one that is missing is unknown and may be tried."""

    version: int
    endpoints: Mapping[str, Condition]

    def of(self, endpoint_id: str) -> Condition:
        """The endpoint's condition."""
        return self.endpoints.get(endpoint_id, _UNKNOWN)

    def calm(self) -> "Conditions":
        """The same speeds with everybody well."""
        well = {endpoint_id: Condition(speed=known.speed) for endpoint_id, known in self.endpoints.items()}
        return Conditions(self.version, well)


_UNKNOWN = Condition()
NO_CONDITIONS = Conditions(0, {})
