"""What the router knows of models and of the places where they can be called. Unknown facts are None or absent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, IntFlag, auto


class ModelKind(Enum):
    """What a model does."""

    UNKNOWN = auto()
    CHAT = auto()
    EMBEDDING = auto()


class Capability(IntFlag):
    """What a model is known to be able to do, as bits, so that one comparison checks all that a request needs."""

    STREAMING = auto()
    TOOLS = auto()
    PARALLEL_TOOLS = auto()
    TOOL_CHOICE = auto()
    JSON_SCHEMA = auto()
    JSON_OBJECT = auto()
    REASONING = auto()
    IMAGE_INPUT = auto()
    AUDIO_INPUT = auto()
    AUDIO_OUTPUT = auto()
    FILE_INPUT = auto()
    PROMPT_CACHE = auto()
    SYSTEM_MESSAGES = auto()
    MULTIPLE_CHOICES = auto()
    LOGPROBS = auto()

    @property
    def spelling(self) -> str:
        """The contract's name of one capability, such as `json_schema`."""
        return (self.name or "").lower()


class Lifecycle(IntEnum):
    """Where a model is in its life."""

    ACTIVE = 0
    PREVIEW = 1
    DEPRECATED = 2
    RETIRED = 3


class Health(IntEnum):
    """Whether an endpoint can be used, as the providers service sees it."""

    UNKNOWN = 0
    HEALTHY = 1
    DEGRADED = 2
    DOWN = 3
    RESTING = 4


@dataclass(frozen=True, slots=True)
class Compliance:
    """Proven statements about how a vendor treats data. What is None or empty is unknown and satisfies no policy."""

    regions: frozenset[str] = frozenset()
    retention_days: int | None = None
    trains_on_data: bool | None = None
    certifications: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """One place where a model can be called."""

    endpoint_id: str
    region: str = ""
    """As the vendor names it. Empty: not said."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model of one provider."""

    model: str
    """`provider/model`."""
    display_name: str = ""
    kind: ModelKind = ModelKind.CHAT
    context_tokens_max: int | None = None
    input_tokens_max: int | None = None
    output_tokens_max: int | None = None
    images_max: int | None = None
    capabilities: Capability = Capability(0)
    refused_parameters: frozenset[str] = frozenset()
    reasoning_efforts: frozenset[str] = frozenset()
    """Empty: not said, which leaves the translation to the providers service."""
    languages: frozenset[str] = frozenset()
    """BCP 47 languages it is good at. Empty: unknown."""
    compliance: Compliance = Compliance()
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    retires_at_s: float | None = None
    """Unix seconds of its announced end."""
    successor: str = ""
    quality_priors: Mapping[str, float] = field(default_factory=dict)
    """Shipped expectation per task, 0 to 1. Absent tasks are unknown."""
    groups: frozenset[str] = frozenset()
    tokenizer: str = ""
    endpoints: tuple[EndpointFacts, ...] = ()

    @property
    def provider(self) -> str:
        """The part before the first slash."""
        return self.model.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models, at one revision of the providers service's catalogue."""

    revision: int
    models: Mapping[str, ModelFacts]
