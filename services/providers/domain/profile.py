"""What one model takes and what it refuses, as data: the part of the catalogue a wire format must know."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.providers.domain.failure import unsupported
from turnpike.common.v1 import content_pb2

UnsupportedPolicy = content_pb2.UnsupportedPolicy


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """One model as its wire format sees it. Defaults fit an unknown model: everything is sent."""

    model: str = ""
    """`provider/model`."""
    refused_parameters: frozenset[str] = frozenset()
    """Parameters the model answers with an error, by the field names of GenerationInput: `temperature`, `stop`, …"""
    reasoning: bool | None = None
    """None: unknown."""
    reasoning_efforts: tuple[str, ...] = ()
    """Efforts the model knows, as the vendor spells them, from least to most. Empty: unknown."""
    output_tokens_max: int | None = None
    hints: Mapping[str, str] = field(default_factory=dict)
    """Further facts a vendor's own wire format asks for, such as `thinking: adaptive`. Unknown names are ignored."""


class Omissions:
    """Carries out the caller's choice for what the model cannot take: refuse, or leave out and say so."""

    __slots__ = ("_drop", "_refused", "_vendor_model", "names")

    def __init__(self, policy: UnsupportedPolicy.ValueType, profile: ModelProfile, vendor_model: str) -> None:
        self._drop = policy == content_pb2.UNSUPPORTED_POLICY_DROP
        self._refused = profile.refused_parameters
        self._vendor_model = vendor_model
        self.names: list[str] = []
        """What was left out, for `dropped_parameters`."""

    def takes(self, parameter: str) -> bool:
        """True if `parameter` may be sent. False: it is left out. Raises AttemptError if it must be refused."""
        if parameter not in self._refused:
            return True
        self.omit(parameter)
        return False

    def omit(self, parameter: str) -> None:
        """Leaves `parameter` out because the wire format has no place for it; raises AttemptError if refused."""
        if not self._drop:
            raise unsupported(parameter, self._vendor_model)
        if parameter not in self.names:
            self.names.append(parameter)
