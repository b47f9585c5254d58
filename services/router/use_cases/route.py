"""Decides a request from what the router knows now: gathers the question, asks the engine, refuses what cannot be."""

from collections.abc import Callable, Sequence
from dataclasses import field, replace

from services.kernel.clock import Clock
from services.kernel.errors import TurnpikeError
from services.router.domain import explain, vector_space
from services.router.domain.access import Caller
from services.router.domain.board import Board, Weather
from services.router.domain.constraints import Headroom, standing
from services.router.domain.estimates import NOTHING_KNOWN, TaskProbabilities
from services.router.domain.features import Features, Strategy, Wishes
from services.router.domain.learned import EstimatorBook
from services.router.domain.mirroring import mirror_question, mirror_rules, mirrored_to
from services.router.domain.plan import Decision, Question, decide
from services.router.domain.policy import ComplianceRules, Policy, Rules, Share, pressure
from services.router.domain.values import value
from services.router.domain.world import World
from services.router.errors import (
    UNIT_MONEY,
    UNIT_TOKENS,
    Excluded,
    ModelNotAllowed,
    ModelNotFound,
    NoCandidate,
    PolicyDenied,
    Shortfall,
)
from services.router.records import Room

RULES_KEPT = 1_024
"""Policies under wishes whose meeting is remembered: applications wish the same again and again."""

PRESSURES_KEPT = 100_000
"""Keys whose budgets run short that are remembered; forgotten ones are told of again by their next hold."""

AUTO = ("", "auto")
_NO_CLASSES: tuple[str, ...] = ()
_NO_BOUNDS: tuple[int, ...] = ()
EXCLUDED_TOLD_MAX = 20
"""Excluded candidates that an error names; the decision has them all."""

ExactBounds = Callable[[tuple[str, ...]], tuple[int, ...]]
"""Upper bounds of the input tokens by these tokenizers; counts when called."""


TextBounds = Callable[[str], tuple[int, int]]
"""Upper bounds by a tokenizer, of all texts together and of the longest one; counts when called."""


@value(frozen=True, slots=True)
class Subject:
    """A request as routing sees it: who asks, for what, and what is known of it."""

    caller: Caller
    wishes: Wishes
    features: Features
    belief: TaskProbabilities = field(default_factory=lambda: NOTHING_KNOWN)
    task: str = ""
    """The task that is taken for granted: declared, or believed beyond doubt. Empty: none."""
    exact_bounds: ExactBounds | None = None
    text_bounds: TextBounds | None = None
    """Of texts to be embedded."""
    language: Callable[[], str] | None = None
    """Finds out the request's language, where `features` do not say it already."""


class Router:
    """Makes decisions."""

    def __init__(self, world: World, estimators: EstimatorBook, clock: Clock) -> None:
        self._world = world
        self._estimators = estimators
        self._clock = clock
        self._pressures: dict[str, float] = {}
        """By key: how far its tightest budget is used up."""
        self._rules: dict[tuple[int, Wishes, tuple[str, ...]], tuple[Policy, Rules]] = {}

    def question(self, subject: Subject, seed: int, *, policy: Policy | None = None) -> Question:
        """Everything the decision depends on. Raises ModelNotFound and PolicyDenied."""
        world, caller, wishes = self._world, subject.caller, subject.wishes
        now_s = self._clock.now().timestamp()
        policy = policy or world.policies.policy_for(caller)
        data_class = self._data_class(caller, wishes)
        rules = self._rules_in_force(policy, wishes, data_class)
        board = world.board(caller.organisation_id, now_s)
        asked, shares = self._asked(board, caller, wishes)
        features = subject.features
        if subject.language is not None and (board.languages_told or rules.language_required):
            features = replace(features, language=subject.language())
        bounds, longest = _bounds(board, subject), _NO_BOUNDS
        if subject.text_bounds is not None:
            asked, shares = _vector_space(board, rules, wishes, asked, shares)
            bounds, longest = _bounds_of_texts(board, subject.text_bounds, asked)
        access = world.access(caller)
        return Question(
            board=board,
            weather=world.weather(board),
            standing=world.standing(board, access, rules, asked),
            rules=rules,
            features=features,
            estimator=self._estimators.of(caller.organisation_id),
            seed=seed,
            now_s=now_s,
            asked=wishes.model or "auto",
            shares=shares,
            belief=subject.belief,
            # Vectors have no quality that a floor could mean; the request names whose it wants.
            quality_min=_floor(rules, policy, subject.task) if subject.text_bounds is None else None,
            input_bounds=bounds,
            longest_bounds=longest,
            pressure=self._pressures.get(caller.key_id, 0.0),
        )

    def rules_of(self, subject: Subject) -> Rules:
        """The rules in force for a request. Raises PolicyDenied."""
        policy = self._world.policies.policy_for(subject.caller)
        data_classes = self._data_class(subject.caller, subject.wishes)
        return self._rules_in_force(policy, subject.wishes, data_classes)

    def decide(self, subject: Subject, seed: int, *, policy: Policy | None = None) -> Decision:
        """The decision, which may have an empty plan (`refusal` says what to answer then)."""
        return decide(self.question(subject, seed, policy=policy))

    def note_rooms(self, caller: Caller, rooms: Sequence[Room], held_nanos: int) -> None:
        """What the budget service told of the caller's budgets after a hold of `held_nanos`: those that run short.

        The hold itself is given back soon and presses nobody.
        """
        pressing = [pressure(room.left + held_nanos, room.limit) for room in rooms if room.unit == UNIT_MONEY]
        if pressing and (most := max(pressing)) > 0.0:
            if len(self._pressures) >= PRESSURES_KEPT:
                self._pressures.clear()
            self._pressures[caller.key_id] = most
        else:
            self._pressures.pop(caller.key_id, None)

    def shadow_first(self, subject: Subject, seed: int) -> str:
        """What the policy in shadow would have chosen; empty: there is none, or it would have refused."""
        policy = self._world.policies.shadow_for(subject.caller)
        if policy is None:
            return ""
        try:
            first = self.decide(subject, seed, policy=policy).first
        except TurnpikeError:
            return ""
        return first.name if first is not None else ""

    def mirrored(self, decision: Decision, caller: Caller) -> Decision | None:
        """The decision for the shadow model that gets a copy of a request; None: none does, or none can and may."""
        question, world = decision.question, self._world
        wanted = question.rules.mirror
        if wanted is None:
            return None
        alias = world.policies.alias(caller.organisation_id, question.asked)
        model = mirrored_to(question, wanted, alias)
        if not model:
            return None
        allowed = world.policies.policy_for(caller).rules.allow_models
        rules = mirror_rules(question.rules, allowed, model)
        standing_now = standing(question.board, world.access(caller), rules, (model,))
        shadow = decide(mirror_question(question, rules, standing_now, model))
        return shadow if shadow.plan else None

    def calm(self, decision: Decision) -> Decision:
        """The same question as if every endpoint fared well: whose plan is who is worth waiting for."""
        weather = decision.question.weather
        return decide(replace(decision.question, weather=Weather(weather.board, weather.conditions.calm())))

    def again(
        self, decision: Decision, headroom: tuple[Headroom, ...], avoid: frozenset[str] = frozenset()
    ) -> Decision:
        """The same question after a refused hold, with what the budgets have left."""
        return decide(
            replace(
                decision.question,
                headroom=(*decision.question.headroom, *headroom),
                avoid=decision.question.avoid | avoid,
            )
        )

    def _rules_in_force(self, policy: Policy, wishes: Wishes, data_classes: tuple[str, ...]) -> Rules:
        """The policy narrowed by the wishes: the same object for the same, so that what follows is remembered."""
        key = (id(policy), wishes, data_classes)
        kept = self._rules.get(key)
        if kept is None:
            if len(self._rules) >= RULES_KEPT:
                self._rules.clear()
            kept = self._rules[key] = (policy, _rules(policy, wishes, data_classes))
        return kept[1]

    def _data_class(self, caller: Caller, wishes: Wishes) -> tuple[str, ...]:
        directory = self._world.directory
        project = directory.projects.get(caller.project_id)
        organisation = directory.organisations.get(caller.organisation_id)
        inherited = (project.data_class if project else "") or (
            organisation.data_class if organisation else ""
        )
        if not inherited and not wishes.data_class:
            return _NO_CLASSES
        # The caller's class is added to the project's, so it can only make the demands stricter.
        return tuple(dict.fromkeys(name for name in (inherited, wishes.data_class) if name))

    def _asked(
        self, board: Board, caller: Caller, wishes: Wishes
    ) -> tuple[tuple[str, ...], tuple[Share, ...]]:
        """The patterns that the request names, and the shares of an alias."""
        name = wishes.model
        if name in AUTO:
            return (), ()
        if "/" in name:
            if name not in board.models:
                raise ModelNotFound(name)
            return (name,), ()
        alias = self._world.policies.alias(caller.organisation_id, name)
        if alias is None:
            raise ModelNotFound(name)
        shares = alias.targets if any(target.weight > 0 for target in alias.targets) else ()
        return tuple(target.pattern for target in alias.targets), shares


def refusal(decision: Decision, decision_id: str) -> NoCandidate | ModelNotAllowed:
    """What to answer when nobody can and may take the request."""
    question = decision.question
    dropped = excluded(decision)
    if "/" in question.asked:
        named = [item for item in dropped if item.model == question.asked]
        if named and named[0].rule.startswith("access."):
            return ModelNotAllowed(question.asked, named[0].rule, named[0].finding, decision_id)
        if not named:
            return NoCandidate(
                decision_id,
                (
                    Excluded(
                        question.asked, "availability.no_endpoint", "It has no endpoint that is set up here."
                    ),
                ),
            )
    return NoCandidate(decision_id, dropped, decision.output_cap_fitting)


def excluded(decision: Decision) -> tuple[Excluded, ...]:
    """The candidates that were dropped, those the request did not name left out; at most EXCLUDED_TOLD_MAX."""
    found = [
        Excluded(candidate.name, rule, explain.finding(decision, candidate.index))
        for candidate in decision.question.board.candidates
        if (rule := explain.rule_name(decision, candidate.index)) and rule != "request.model"
    ]
    return tuple(found[:EXCLUDED_TOLD_MAX])


def headroom_of(shortfall: Shortfall) -> Headroom:
    """What a refusal leaves room for, for the next plan. A budget in requests or holds leaves none to its models."""
    money = shortfall.unit == UNIT_MONEY
    tokens = shortfall.unit == UNIT_TOKENS
    return Headroom(
        model_scope=shortfall.model_scope,
        display_name=shortfall.display_name,
        nanos=shortfall.left if money else None if tokens else -1,
        tokens=shortfall.left if tokens else None,
    )


def _rules(policy: Policy, wishes: Wishes, data_classes: tuple[str, ...]) -> Rules:
    if policy.unreadable:
        raise PolicyDenied(_named(policy), "policy.unreadable", "This version cannot read it; write it anew.")
    if policy.declared_task_required and not wishes.task:
        raise PolicyDenied(_named(policy), "policy.task_required", "Requests must declare their task.")
    if wishes.task and wishes.task in policy.denied_tasks:
        raise PolicyDenied(_named(policy), "policy.task_denied", f"The task {wishes.task} is not allowed.")
    rules = policy.rules.narrowed(wishes)
    demands = rules.compliance
    for data_class in data_classes:
        known = policy.data_classes.get(data_class)
        if known is None and policy.unknown_class == "deny":
            raise PolicyDenied(
                _named(policy),
                "policy.data_class",
                f"It does not know data of the class {data_class}.",
            )
        demands = demands.with_(known or ComplianceRules())
    if wishes.names_a_model:
        return replace(rules, compliance=demands, strategy=Strategy.PINNED, probe_share=0.0)
    return replace(rules, compliance=demands)


def _named(policy: Policy) -> str:
    return f"{policy.policy_id}@{policy.version}" if policy.policy_id else "default"


def _floor(rules: Rules, policy: Policy, task: str) -> float | None:
    of_task = policy.tasks.get(task) if task else None
    if of_task is None:
        return rules.quality_min
    return of_task if rules.quality_min is None else max(rules.quality_min, of_task)


BYTES_BOUND_IS_ENOUGH = 8_192
"""Up to here the byte bound is within every context in use, and counting would cost more than it tells."""


def _bounds(board: Board, subject: Subject) -> tuple[int, ...]:
    """Exact bounds where the byte bound is too coarse: long texts, and everything with pictures, sound or documents."""
    features = subject.features
    media = features.images or features.audios or features.files
    if subject.exact_bounds is None or (features.text_bytes <= BYTES_BOUND_IS_ENOUGH and not media):
        return ()
    return subject.exact_bounds(board.tokenizers)


def _vector_space(
    board: Board, rules: Rules, wishes: Wishes, asked: tuple[str, ...], shares: tuple[Share, ...]
) -> tuple[tuple[str, ...], tuple[Share, ...]]:
    """The models of the one vector space that the request means; a model that it names goes first."""
    model = vector_space.meant(board.models, asked, shares)
    if not model:
        return asked, ()
    space = vector_space.space_of(model, rules.equal_embeddings)
    return space, (Share(model, 1.0),) if wishes.names_a_model and len(space) > 1 else ()


def _bounds_of_texts(
    board: Board, text_bounds: TextBounds, space: tuple[str, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Exact bounds for the tokenizers that the models of the space count with; the others are not looked at."""
    counting = {board.models[name].tokenizer for name in space if name in board.models}
    bounds = [text_bounds(name) if name in counting else (0, 0) for name in board.tokenizers]
    return tuple(total for total, _ in bounds), tuple(longest for _, longest in bounds)
