"""What an application may ask of the router, beside the road of a request itself (generate.py)."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as with_changes
from typing import TypeVar

from services.kernel.errors import NotFound
from services.kernel.ids import DecisionId, RequestId
from services.router.domain.catalogue import ModelFacts
from services.router.domain.estimates import TaskProbabilities
from services.router.domain.features import Features, Wishes
from services.router.domain.patterns import any_matches
from services.router.domain.policy_book import Alias
from services.router.domain.prices import PriceView
from services.router.domain.values import value
from services.router.domain.world import World
from services.router.records import DecisionRecord
from services.router.use_cases.asking import Ask, Form, Tools, Write
from services.router.use_cases.cached import ANSWER_BYTES_MAX, Answers, Kept
from services.router.use_cases.callers import current_caller, left_s
from services.router.use_cases.embed import Embedding, EmbeddingModels
from services.router.use_cases.forms import Collected, answered, nowhere
from services.router.use_cases.generate import Run
from services.router.use_cases.holding import DIMENSIONS_MAX
from services.router.use_cases.repeats import Repeatable, Repeats
from services.router.use_cases.route import ExactBounds, Subject
from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import decision_pb2

Classify = Callable[[str, str, Features, Wishes], TaskProbabilities]
"""(instructions, newest turn, features, wishes) → the task belief. Pure, at most a millisecond."""

Part = TypeVar("Part")

CERTAIN = 0.8
"""From this probability on a believed task counts as known, for floors that a policy sets by task."""

PREVIEW_SEED = 0
"""Previews draw nothing: they show what most requests would get."""


@value(frozen=True, slots=True)
class Request:
    """A request for an answer, checked and measured."""

    request_id: RequestId
    callers_id: bool
    """True if the caller chose the id, and so may repeat the request."""
    wishes: Wishes
    input: content_pb2.GenerationInput
    metadata: dict[str, str]
    user: str
    streamed: bool
    features: Features
    instructions: str
    """Bounded text of the system messages, for the classifier alone."""
    newest: str
    """Bounded text of the newest turn, for the classifier alone."""
    language: Callable[[], str]
    """Finds out the language of the newest turn."""
    exact_bounds: ExactBounds
    content_hash: Callable[[], bytes]
    """Of everything that makes the request what it is: what tells a repetition from another request."""
    cache_key: Callable[[], bytes]
    """Of what makes the answer: the same without the request's id, its user and its names to report by."""


@dataclass(frozen=True, slots=True)
class Available:
    """A model or alias that a key may use."""

    name: str
    display_name: str
    alias_of: str
    model: ModelFacts | None
    prices: PriceView
    unusable_reason: str


class Application:
    """The use cases of RouterService."""

    def __init__(
        self,
        world: World,
        tools: Tools,
        repeats: Repeats,
        answers: Answers,
        classify: Classify,
        *,
        deadline_s: float,
    ) -> None:
        """`deadline_s`: that of requests whose caller sets none."""
        self._world = world
        self._tools = tools
        self._repeats = repeats
        self._answers = answers
        self._router = tools.router
        self._log = tools.log
        self._clock = tools.clock
        self._classify = classify
        self._deadline_s = deadline_s

    async def answer(self, request: Request, form: Form[Part], write: Write[Part]) -> Part:
        """The answer's last message, those before it written.

        They are a run's, or those of an identical request before (a repetition, or from the cache).
        """
        subject = self._subject(request)
        rules = self._router.rules_of(subject)
        if rules.use_cache and rules.cache_ttl_s is not None:
            return await self._through_cache(request, subject, form, write, rules.cache_ttl_s)
        return await self._answered(
            self._tools, self._ask(request, subject), request.content_hash, form, write
        )

    async def embed(self, embedding: Embedding, form: Form[Part]) -> Part:
        """The vectors' message: a run's, or that of an identical request before."""
        subject = embedding.subject(current_caller(embedding.user))
        ask = Ask(
            request_id=embedding.request_id,
            callers_id=embedding.callers_id,
            subject=subject,
            input=content_pb2.GenerationInput(),
            streamed=False,
            metadata=embedding.metadata,
            dimensions=_dimensions(embedding.metadata, subject),
            left_s=left_s(self._deadline_s),
        )
        tools = with_changes(self._tools, models=EmbeddingModels(self._tools.vectors, embedding))
        return await self._answered(tools, ask, embedding.content_hash, form, nowhere)

    async def _answered(
        self, tools: Tools, ask: Ask, content_hash: Callable[[], bytes], form: Form[Part], write: Write[Part]
    ) -> Part:
        run = Run(tools, ask)
        if not ask.callers_id:
            return await answered(run, form, write)
        caller = ask.caller
        project = self._world.directory.projects.get(caller.project_id)
        repeatable = Repeatable(
            caller.organisation_id,
            ask.request_id,
            content_hash(),
            project is not None and project.capture_content,
            form,
        )
        return await self._repeats.answer(repeatable, run, write)

    async def _through_cache(
        self, request: Request, subject: Subject, form: Form[Part], write: Write[Part], ttl_s: float
    ) -> Part:
        access = self._world.access(subject.caller)
        key = (subject.caller.project_id, access, self._world.policies.revision, request.cache_key())
        kept = await self._answers.find(key)
        if kept is not None:
            record = self._hit(request, subject, kept)
            *before, last = (form.from_cache(form.decode(content), record) for content in kept.parts)
            for part in before:
                await write(part)
            return last
        answer: Kept | None = None
        try:
            collected = Collected(form, write, bytes_max=ANSWER_BYTES_MAX)
            ask = self._ask(request, subject)
            last = await self._answered(self._tools, ask, request.content_hash, form, collected.write)
            parts = collected.with_last(last)
            if parts is not None and form.is_whole(last):
                answer = Kept(parts, form.cost_nanos(last))
            return last
        finally:
            self._answers.done(key, answer, ttl_s)

    def _hit(self, request: Request, subject: Subject, kept: Kept) -> DecisionRecord:
        """Records a hit: the decision that would have been made, no attempt, and what was saved."""
        record = self._decided(request, subject)
        saved = {"cache": "hit"}
        if kept.cost_nanos is not None:
            saved["saved_nanos"] = str(kept.cost_nanos)
        record.metadata = {**record.metadata, **saved}
        record.duration_s = 0.0
        self._log.record(record)
        return record

    def _ask(self, request: Request, subject: Subject) -> Ask:
        return Ask(
            request_id=request.request_id,
            callers_id=request.callers_id,
            subject=subject,
            input=request.input,
            streamed=request.streamed,
            metadata=request.metadata,
            dimensions=_dimensions(request.metadata, subject),
            left_s=left_s(self._deadline_s),
            vendor_user=subject.caller.user_id,
        )

    def preview(self, request: Request) -> DecisionRecord:
        """The decision that would be made, without calling or holding anything."""
        subject = self._subject(request)
        features = with_changes(
            subject.features, language=request.language()
        )  # people look, time does not matter
        return self._decided(request, with_changes(subject, features=features))

    def _decided(self, request: Request, subject: Subject) -> DecisionRecord:
        return DecisionRecord(
            decision_id=DecisionId.new(),
            request_id=request.request_id,
            caller=subject.caller,
            decided_at=self._clock.now(),
            decision=self._router.decide(subject, PREVIEW_SEED),
            streamed=request.streamed,
            metadata=request.metadata,
            declared_task=request.wishes.task,
            route=request.wishes.route,
            data_class=request.wishes.data_class,
        )

    def _subject(self, request: Request) -> Subject:
        caller = current_caller(request.user)
        wishes = request.wishes
        belief = self._classify(request.instructions, request.newest, request.features, wishes)
        task = wishes.task
        if not task:
            likeliest = max(belief, key=belief.__getitem__)
            task = likeliest if belief[likeliest] >= CERTAIN and likeliest != "unknown" else ""
        return Subject(
            caller, wishes, request.features, belief, task, request.exact_bounds, language=request.language
        )

    def models(self) -> list[Available]:
        """The models and aliases that the caller may use, by name."""
        caller = current_caller()
        now_s = self._clock.now().timestamp()
        board = self._world.board(caller.organisation_id, now_s)
        weather = self._world.weather(board)
        access = self._world.access(caller)
        found: list[Available] = []
        unusable = {
            candidate.name: "Its endpoints do not work at this moment."
            for candidate in board.candidates
            if weather.health[candidate.index] == DOWN
        }
        for candidate in board.candidates:
            if weather.health[candidate.index] != DOWN:
                unusable.pop(candidate.name, None)
        for name, model in board.models.items():
            if not model.endpoints or access.refusal(model) is not None:
                continue
            reason = unusable.get(name, "")
            if board.prices.of(name) is None:
                reason = "It has no known price."
            found.append(Available(name, model.display_name, "", model, board.prices, reason))
        for (organisation_id, name), alias in self._world.policies.aliases.items():
            if organisation_id == caller.organisation_id:
                found.append(self._alias(name, alias, found, board.prices))
        return sorted(found, key=lambda item: item.name)

    def _alias(self, name: str, alias: Alias, models: list[Available], prices: PriceView) -> Available:
        patterns = tuple(target.pattern for target in alias.targets)
        usable = any(
            item.model is not None and not item.unusable_reason and any_matches(patterns, item.model)
            for item in models
        )
        reason = "" if usable else "None of its models can be used at this moment."
        return Available(name, name, ", ".join(patterns), None, prices, reason)

    async def decision(self, *, decision_id: str, request_id: str) -> decision_pb2.Decision:
        """A decision that was made, with its attempts. Raises NotFound."""
        caller = current_caller()
        found = await self._log.find(caller.organisation_id, decision_id=decision_id, request_id=request_id)
        if found is None or found.principal.project_id != caller.project_id:
            raise NotFound("decision", decision_id or request_id)
        return found


def _dimensions(metadata: dict[str, str], subject: Subject) -> dict[str, str]:
    """What usage is reported by, beside the principal: the caller's own names, the task and the route."""
    dimensions = dict(metadata)
    if subject.task:
        dimensions.setdefault("task", subject.task)
    if subject.wishes.route:
        dimensions.setdefault("route", subject.wishes.route)
    return dict(list(dimensions.items())[:DIMENSIONS_MAX])


DOWN = 3
"""Value of Health.DOWN in a board's arrays."""
