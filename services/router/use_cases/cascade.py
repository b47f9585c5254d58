"""A run's cascade: cheap answers are held back and checked, and the strong model is asked if they fail.

Each call has its hold and is booked; the strong one's hold is made in the step that settles the cheap one. What was
held back of a rejected answer nobody sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.json_format import MessageToDict

from services.router.domain.cascading import Cascade
from services.router.domain.checks import ACCEPTED, gist, json_verdict, number_of, option_of
from services.router.domain.fallback import Next
from services.router.domain.policy import CascadeRules
from services.router.records import DecisionRecord
from services.router.use_cases.attempt import Attempt
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

PURPOSE = "cascade"


@dataclass(slots=True)
class Trials:
    """The cheap answers of one run."""

    record: DecisionRecord
    input: content_pb2.GenerationInput
    held: list[content_pb2.ChoiceDelta] = field(default_factory=list)
    """Deltas of the answer on trial."""
    _first: str | None = None
    """What the first of two models said, in short."""

    @property
    def cascade(self) -> Cascade | None:
        """The cascade in force; None: the direct road is taken."""
        found = self.record.decision.cascade
        return found if found is not None and found.use else None

    @property
    def purpose(self) -> str:
        """Why the run's first candidate is called."""
        return PURPOSE if self.cascade is not None else "first"

    def on_trial(self, attempt: Attempt) -> bool:
        """True if the answer of this attempt is checked before anybody sees it."""
        self.held.clear()
        cascade = self.cascade
        trial = (
            attempt.step.purpose == PURPOSE and cascade is not None and cascade.is_trial(attempt.step.planned)
        )
        if attempt.step.purpose == PURPOSE and not trial:
            attempt.record.purpose = "fallback"  # another candidate stepped in: the direct road after all
        return trial

    def judge(self, attempt: Attempt, answer: providers_pb2.AttemptFinished) -> Next | None:
        """None: the answer may be given. Else what follows it: the model that must agree, or the strong one."""
        cascade = self.cascade
        assert cascade is not None
        rules = self.record.decision.question.rules.cascade or CascadeRules()
        texts = texts_of(answer, self.held)
        if cascade.check == "agreement":
            return self._agree(attempt, texts, cascade, rules.options)
        attempt.record.verdict = verdict_on(cascade.check, texts, rules.options, self.input)
        return None if attempt.record.verdict == ACCEPTED else self.escalated()

    def escalated(self) -> Next:
        """The strong model's turn."""
        cascade = self.cascade
        assert cascade is not None
        return Next(cascade.strong, purpose="escalation")

    def _agree(
        self, attempt: Attempt, texts: Sequence[str], cascade: Cascade, options: tuple[str, ...]
    ) -> Next | None:
        said = gist(texts[0], options) if texts else None
        if said is None:
            attempt.record.verdict = "it says nothing that could be compared"
            return self.escalated()
        if self._first is None and cascade.second is not None:
            self._first = said
            attempt.record.verdict = "another must agree"
            # The second may have stepped in for the first, whose endpoint was being probed.
            other = cascade.cheap if attempt.step.planned == cascade.second else cascade.second
            assert other is not None
            return Next(other, purpose=PURPOSE)
        agreed = said == self._first
        attempt.record.verdict = ACCEPTED if agreed else "the two do not agree"
        return None if agreed else self.escalated()


def verdict_on(
    check: str, texts: Sequence[str], options: tuple[str, ...], given: content_pb2.GenerationInput
) -> str:
    """ACCEPTED if every text passes the check; else what the first one lacks."""
    schema = MessageToDict(given.output_format.json_schema.schema) if check == "schema" else None
    for text in texts:
        if check == "option":
            verdict = ACCEPTED if option_of(text, options) is not None else "it names no option, or several"
        elif check == "number":
            verdict = ACCEPTED if number_of(text) is not None else "there is no number in it"
        else:
            verdict = json_verdict(text, schema)
        if verdict != ACCEPTED:
            return verdict
    return ACCEPTED if texts else "it is empty"


def texts_of(answer: providers_pb2.AttemptFinished, deltas: Sequence[content_pb2.ChoiceDelta]) -> list[str]:
    """The texts of the answer's choices, whole or from its deltas."""
    if answer.choices:
        return [
            "".join(part.text.text for part in choice.message.parts if part.HasField("text"))
            for choice in answer.choices
        ]
    texts: dict[int, list[str]] = {}
    for delta in deltas:
        if delta.WhichOneof("delta") == "text":
            texts.setdefault(delta.index, []).append(delta.text)
    return ["".join(pieces) for _, pieces in sorted(texts.items())]
