"""What governs the routing of one request: the policy in force, narrowed by what the caller wishes.

Policies are documents of admins (policy_document.py); this is what they mean. A field that is None or empty says
nothing. `Rules.narrowed` is the one place where a caller's wishes meet a policy, so that no wish can widen it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.router.domain.features import Priority, Strategy, Wishes
from services.router.domain.utility import Weights

ATTEMPTS_DEFAULT = 6
"""Enough to get past several broken vendors; each attempt is bounded by its share of the deadline."""

ATTEMPTS_MAX = 8
"""The contract's bound: each attempt is a hold, and more than this is not fallback but a storm."""

OUTPUT_TOKENS_DEFAULT = 4_096
"""Output cap of a request that states none, where neither policy nor model says less: long for an answer, and small
enough that its worst case does not block a budget."""

PROBE_SHARE_DEFAULT = 0.02
"""Share of choices by which candidates that usually lose are measured, so that their latency does not go stale."""


PRESSURE_BELOW = 0.25
"""Share of a budget that is left from which on cost weighs more; the budget service tells of budgets that run short."""


def pressure(left: int, limit: int) -> float:
    """How hard a budget presses for cheaper models: 0 with a quarter left or more, 1 with nothing."""
    if limit <= 0:
        return 1.0
    return min(max(1.0 - left / limit / PRESSURE_BELOW, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class ComplianceRules:
    """What must be proven of a model before data of some class may reach it."""

    regions: frozenset[str] = frozenset()
    """Every region in which the model processes must be one of these. Empty: anywhere."""
    retention_days_max: int | None = None
    no_training: bool = False
    certifications: frozenset[str] = frozenset()
    """All of them."""

    def with_(self, other: "ComplianceRules") -> "ComplianceRules":
        """Both: the stricter of each. Regions without anything in common leave no model, as both ask."""
        if not self.regions or not other.regions:
            regions = self.regions or other.regions
        else:
            regions = (self.regions & other.regions) or frozenset({NOWHERE})
        days = [days for days in (self.retention_days_max, other.retention_days_max) if days is not None]
        return ComplianceRules(
            regions,
            min(days) if days else None,
            self.no_training or other.no_training,
            self.certifications | other.certifications,
        )

    @property
    def demands_nothing(self) -> bool:
        """True if every model satisfies it."""
        return self == _NO_DEMANDS


NOWHERE = "nowhere"
"""Stands for the empty set of regions, which would otherwise mean `anywhere`."""

_NO_DEMANDS = ComplianceRules()


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the traffic: a model or pattern, and its weight among the others."""

    pattern: str
    weight: float


@dataclass(frozen=True, slots=True)
class CascadeRules:
    """That a cheap model may be asked first, and how its answer is checked."""

    check: str = "json"
    """`json` (by the schema where there is one), `option`, `number`, or `agreement` of two cheap models."""
    options: tuple[str, ...] = ()
    """What the answer must name one of. Empty: any."""
    streams: bool = False
    """Streamed answers are held back until they are checked. False: streams are not cascaded."""


@dataclass(frozen=True, slots=True)
class MirrorRules:
    """That a share of what was answered is sent to another model as well, whose answer nobody sees."""

    key_id: str
    """The key whose budgets pay."""
    model: str = ""
    """`provider/model`. Empty: only what aliases mirror."""
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A share of the rates that count some models, kept for tasks or priorities."""

    scope: str
    """As budgets spell it: `group:…`, `provider:…` or `model:provider/model`."""
    permille: int
    priorities: frozenset[Priority] = frozenset()
    tasks: frozenset[str] = frozenset()

    def is_for(self, priority: Priority, task: str) -> bool:
        """True if such requests may use it: one of its priorities or of its tasks."""
        return priority in self.priorities or task in self.tasks


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that governs one decision. Immutable and hashable, so that what follows from it can be remembered."""

    policy: str = ""
    """`id@version` of the policy it came from. Empty: the built-in default."""
    strategy: Strategy = Strategy.BALANCED
    weights: Weights | None = None
    """The admin's own weights in place of the strategy's preset."""
    priority: Priority = Priority.INTERACTIVE
    allow_models: tuple[tuple[str, ...], ...] = ()
    """Lists of patterns; a model must be named by one pattern of each list."""
    deny_models: tuple[str, ...] = ()
    compliance: ComplianceRules = ComplianceRules()
    quality_min: float | None = None
    cost_nanos_max: int | None = None
    """Most a request may cost at worst."""
    ttft_s_max: float | None = None
    duration_s_max: float | None = None
    attempts_max: int = ATTEMPTS_DEFAULT
    """Where the caller says nothing."""
    attempts_limit: int = ATTEMPTS_MAX
    """Most that a caller may ask for."""
    output_tokens_max: int | None = None
    """Largest output cap that a caller may ask for."""
    output_tokens_default: int = OUTPUT_TOKENS_DEFAULT
    lower_output_cap: bool = False
    progressive_tokens: int | None = None
    """Output tokens that a stream's hold covers at first, and grows by. None: the whole cap is held."""
    output_tokens_min: int = 16
    """A lowered cap is never below this: an answer of a few tokens is worse than a refusal."""
    allow_preview: bool = False
    allow_deprecated: bool = True
    language_required: bool = False
    """Models must be known to be good at the request's language; False: only those that are known not to be are out."""
    shares: tuple[Share, ...] = ()
    """For Strategy.WEIGHTED."""
    probe_share: float = PROBE_SHARE_DEFAULT
    hedge_after_s: float | None = None
    cascade: CascadeRules | None = None
    use_cache: bool = False
    cache_ttl_s: float | None = None
    """How long the project's answers are kept for identical requests. None: the project has no cache."""
    continue_on_other_model: bool = False
    mirror: MirrorRules | None = None
    reserved: tuple[Reservation, ...] = ()
    equal_embeddings: tuple[tuple[str, ...], ...] = ()
    """Groups of models whose vectors are interchangeable: the same model at several vendors."""

    def keep_free(self, task: str) -> Mapping[str, int]:
        """What a request of this task must leave of which rates, in parts per thousand: what is kept for others."""
        kept: dict[str, int] = {}
        for reservation in self.reserved:
            if not reservation.is_for(self.priority, task):
                # Two reservations of one rate are both kept from whoever is in neither.
                kept[reservation.scope] = min(1000, kept.get(reservation.scope, 0) + reservation.permille)
        return kept

    def narrowed(self, wishes: Wishes) -> "Rules":
        """These rules under the caller's wishes. What costs more (a hedge, a cascade) is the caller's to ask for."""
        return replace(
            self,
            strategy=wishes.strategy or self.strategy,
            weights=self.weights if wishes.strategy in (None, self.strategy) else None,
            priority=wishes.priority,
            allow_models=self.allow_models + ((wishes.allow_models,) if wishes.allow_models else ()),
            deny_models=self.deny_models + wishes.deny_models,
            compliance=self.compliance.with_(ComplianceRules(regions=wishes.regions))
            if wishes.regions
            else self.compliance,
            quality_min=_stricter_floor(self.quality_min, wishes.quality_min),
            cost_nanos_max=_stricter_amount(self.cost_nanos_max, wishes.cost_nanos_max),
            ttft_s_max=_stricter(self.ttft_s_max, wishes.ttft_s_max),
            duration_s_max=_stricter(self.duration_s_max, wishes.duration_s_max),
            attempts_max=min(self.attempts_limit, wishes.attempts_max or self.attempts_max),
            lower_output_cap=self.lower_output_cap or wishes.lower_output_cap,
            hedge_after_s=wishes.hedge_after_s if wishes.hedge_after_s is not None else self.hedge_after_s,
            cascade=replace(self.cascade or CascadeRules(), streams=True) if wishes.cascade else self.cascade,
            use_cache=self.cache_ttl_s is not None and (self.use_cache or wishes.use_cache),
            continue_on_other_model=self.continue_on_other_model or wishes.continue_on_other_model,
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """One document: rules for everything, for data classes and for tasks, and those it forbids altogether."""

    policy_id: str
    version: int
    rules: Rules = Rules()
    data_classes: Mapping[str, ComplianceRules] = field(default_factory=dict)
    """What each class of data demands. A class that is not listed has no rule, which `unknown_class` decides."""
    unknown_class: str = "allow"
    """`allow` or `deny` requests whose data class the document does not know."""
    tasks: Mapping[str, float] = field(default_factory=dict)
    """Quality floors by task."""
    denied_tasks: frozenset[str] = frozenset()
    """Declared tasks that are refused."""
    declared_task_required: bool = False
    unreadable: bool = False
    """True if a stored document cannot be read by this version: requests are refused rather than let pass unruled."""


def _stricter(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def _stricter_amount(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _stricter_floor(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
