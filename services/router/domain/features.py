"""What is known of a request without keeping its text, and what its caller asks of routing."""

from enum import Enum

from services.router.domain.catalogue import Capability, ModelKind
from services.router.domain.values import value


@value(frozen=True, slots=True)
class Features:
    """Facts of a request; found once, used by every part of the decision, recorded with it."""

    input_tokens_bound: int
    """At most so many input tokens, whatever the tokenizer: what the worst case is computed from."""
    input_tokens_estimate: int
    text_bytes: int = 0
    images: int = 0
    audios: int = 0
    files: int = 0
    tools: int = 0
    turns: int = 0
    json_schema: bool = False
    code: bool = False
    language: str = ""
    """BCP 47. Empty: unknown, or no candidate and no rule asks for it."""
    system_prompt_hash: str = ""
    """First eight bytes of the SHA-256 of the instructions, as hex. Empty: none."""
    needs: Capability = Capability(0)
    """What a model must be able to do."""
    kind: ModelKind = ModelKind.CHAT
    parameters: frozenset[str] = frozenset()
    """Optional parameters that the request sets, by the catalogue's names, such as `temperature`."""
    drops_unsupported: bool = False
    """True: a parameter that a model refuses is left out for it rather than ruling it out."""
    reasoning_effort: str = ""
    """Such as `low`. Empty: the model's default."""
    choices: int = 1
    output_cap_asked: int | None = None
    """The caller's output cap in tokens. None: as policy or the model says."""
    output_tokens_hint: int | None = None
    """Predicted length of the answer. None: by the task's usual one."""
    vendor_files_of: str = ""
    """Provider that holds a file the request names by its id there. Empty: none."""
    longest_text_bound: int | None = None
    """Of texts to be embedded: at most so many tokens in the longest one, to which a model's limits apply. None: the
    input is one."""
    cache_markers: bool = False
    cache_markers_long: bool = False


class Priority(Enum):
    """Who waits."""

    __hash__ = object.__hash__  # an Enum's own is written in Python, and members are one object each

    INTERACTIVE = "interactive"
    BACKGROUND = "background"


class Strategy(Enum):
    """What matters most."""

    __hash__ = object.__hash__

    COST = "cost"
    LATENCY = "latency"
    CAPABILITY = "capability"
    BALANCED = "balanced"
    PINNED = "pinned"
    WEIGHTED = "weighted"
    LEARNED = "learned"


@value(frozen=True, slots=True)
class Wishes:
    """What the caller asks of routing; it narrows the policy and never widens it. None or empty: as the policy says."""

    model: str = ""
    """`provider/model`, an alias, or `auto`. Empty: `auto`."""
    strategy: Strategy | None = None
    priority: Priority = Priority.INTERACTIVE
    task: str = ""
    route: str = ""
    quality_min: float | None = None
    cost_nanos_max: int | None = None
    ttft_s_max: float | None = None
    duration_s_max: float | None = None
    """What is left of the caller's deadline, in seconds. None: there is none."""
    allow_models: tuple[str, ...] = ()
    deny_models: tuple[str, ...] = ()
    data_class: str = ""
    regions: frozenset[str] = frozenset()
    attempts_max: int | None = None
    continue_on_other_model: bool = False
    hedge_after_s: float | None = None
    lower_output_cap: bool = False
    cascade: bool = False
    use_cache: bool = False

    @property
    def names_a_model(self) -> bool:
        """True if one model is meant rather than a choice among many."""
        return "/" in self.model
