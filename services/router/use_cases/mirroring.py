"""Sends copies of answered requests to a shadow model, in the background: for comparison, paid by a key of its own.

Begun when the answer has gone out, so it delays nobody; what goes wrong is nobody's failure. The attempt is held
against the budgets of the key that the policy names: those of the caller's key, user and project are not touched. Its
record stands beside the answer's in the decision, with cost, times, tokens and, where the form can be checked, a
verdict.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace as with_changes

import structlog

from services.kernel.errors import TurnpikeError
from services.router.domain.access import Caller
from services.router.domain.catalogue import Capability
from services.router.domain.directory import Directory
from services.router.domain.fallback import IDLE_S, Next
from services.router.domain.plan import Decision
from services.router.ports import Dispatch
from services.router.records import DecisionRecord
from services.router.use_cases.asking import Ask, Tools
from services.router.use_cases.attempt import Attempt, answer_of
from services.router.use_cases.cascade import texts_of, verdict_on
from services.router.use_cases.holding import Holding
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

PURPOSE = "mirror"

UNDER_WAY_MAX = 64
"""Copies at once; more are not made, and counted: a slow shadow must not gather what a busy router answers."""

MIRROR_S_MAX = 120.0
"""Longest that a copy may take."""

log = structlog.get_logger()


class Mirrors:
    """Makes copies."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._payers: dict[str, Caller] = {}
        self._payers_of = -1
        """Revision of the directory that `_payers` were laid out from."""
        self._under_way = 0
        self.skipped: Counter[str] = Counter()
        """Copies that were not made, by why."""

    @property
    def under_way(self) -> int:
        """Copies that are being answered."""
        return self._under_way

    def begin(self, tools: Tools, ask: Ask, record: DecisionRecord, ended: Callable[[], None]) -> bool:
        """Copies a request that was answered, if it is to be copied. True: `ended` is called when that has ended."""
        rules = record.decision.question.rules.mirror
        decision = tools.router.mirrored(record.decision, ask.caller)
        if rules is None or decision is None:
            return False
        payer = self._payer(rules.key_id, ask.caller.organisation_id)
        if payer is None or self._under_way >= UNDER_WAY_MAX:
            self.skipped["no such key" if payer is None else "too many"] += 1
            return False
        self._under_way += 1
        tools.settlements.go_on(self._copied(tools, ask, record, decision, payer, ended))
        return True

    async def _copied(
        self,
        tools: Tools,
        ask: Ask,
        record: DecisionRecord,
        decision: Decision,
        payer: Caller,
        ended: Callable[[], None],
    ) -> None:
        # The copy's attempt is numbered after the answer's own, in a record that shares nothing else with theirs.
        shadow = with_changes(record, decision=decision, attempts=list(record.attempts), caller=payer)
        paid = with_changes(ask, subject=with_changes(ask.subject, caller=payer))
        holding = Holding(tools, paid, shadow)
        try:
            attempt = await holding.admit_now(Next(decision.plan[0], purpose=PURPOSE))
            if attempt is None:
                self.skipped["resting"] += 1
                return
            record.mirror = attempt.record
            await self._answered(tools, paid, holding, attempt, decision)
        except TurnpikeError as error:
            self.skipped[error.reason] += 1
            log.info("not mirrored", request_id=ask.request_id, reason=error.reason)
        finally:
            self._under_way -= 1
            holding.close()
            ended()

    async def _answered(
        self, tools: Tools, ask: Ask, holding: Holding, attempt: Attempt, decision: Decision
    ) -> None:
        deltas: list[content_pb2.ChoiceDelta] = []
        try:
            events = await attempt.begin(_dispatch(ask, attempt, decision))
            ended = await attempt.last_of(events, deltas)
        except asyncio.CancelledError:  # the service stops
            if not attempt.abandon("the service stops"):
                holding.give_back(attempt)
            raise
        answer = answer_of(ended)
        if answer is not None:
            await holding.settle(attempt, attempt.succeeded(answer))
            attempt.record.verdict = _verdict(ask, answer, deltas)
        else:
            await holding.settle(attempt, attempt.failed(ended)[0])

    def _payer(self, key_id: str, organisation_id: str) -> Caller | None:
        """The key that pays, if it is one of the organisation; all keys are laid out by their ids once a revision."""
        directory = self._directory
        if self._payers_of != directory.revision:
            self._payers = {entry.caller.key_id: entry.caller for entry in directory.keys.values()}
            self._payers_of = directory.revision
        found = self._payers.get(key_id)
        return found if found is not None and found.organisation_id == organisation_id else None


def _verdict(ask: Ask, answer: providers_pb2.AttemptFinished, deltas: list[content_pb2.ChoiceDelta]) -> str:
    """What a check of the form says where the request asked for one; empty: it did not."""
    features = ask.subject.features
    check = "schema" if features.json_schema else "parse" if Capability.JSON_OBJECT in features.needs else ""
    return verdict_on(check, texts_of(answer, deltas), (), ask.input) if check else ""


def _dispatch(ask: Ask, attempt: Attempt, decision: Decision) -> Dispatch:
    return Dispatch(
        key=attempt.key,
        caller=ask.caller,
        model=attempt.record.model,
        endpoint_id=attempt.record.endpoint_id,
        input=ask.input,
        output_cap=attempt.step.planned.output_cap,
        stream=ask.streamed,
        lease=attempt.grant.lease,
        price_revision=decision.question.board.price_revision,
        connect_timeout_s=None,
        first_token_timeout_s=MIRROR_S_MAX,
        idle_timeout_s=IDLE_S if ask.streamed else None,
        time_left_s=MIRROR_S_MAX,
        vendor_user=ask.vendor_user,
    )
