"""An organisation's tree in memory: windows of budgets, open holds, and what was settled of late.

Only plain state and how it is found and rolled; what may happen to it is in decide.py. Everything that a batch changes
can be taken back (`Draft`), because a batch is true only once the journal has it.
"""

import hashlib
import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator

from services.budget.domain.budgets import LIMIT_MAX, Budget, SubjectKind
from services.budget.domain.config import TreeConfig, TreeDelta
from services.budget.domain.counters import Counter, Path, Slot
from services.budget.domain.drafts import Draft
from services.budget.domain.holds import Hold
from services.budget.domain.moments import NEVER_US, from_us, to_us
from services.budget.domain.operations import AttemptId, Terms
from services.budget.domain.windows import PerRequest, Rolling, rolling_since

SETTLED_KEPT = 20_000
"""Settled attempts of late that are answered without asking the store; about 10 MB a tree."""
PATHS_KEPT = 20_000
"""Resolved (key, user, model, groups) combinations."""
EXPIRIES_SPARE = 256
"""Leases that nobody waits for any more, beside one for each open hold, before they are cleared away."""
OVER_KEPT_US = 600_000_000
"""Windows that ended longer ago are read from the store when a late correction needs one."""
STEP = 500
"""Budgets or counters that are taken in at a time: some milliseconds, after which others may have their turn."""


class Tree:
    """The state. One batch at a time: `begin`, decide, then `keep` or `take_back`."""

    def __init__(
        self,
        config: TreeConfig,
        *,
        sequence: int = 0,
        head: bytes = b"",
        next_counter: int = 1,
        secret: bytes = b"",
        in_steps: bool = False,
    ) -> None:
        """`in_steps`: whoever makes it lets `index` run to its end, at leisure, before anything is decided."""
        self.organisation_id = config.organisation_id
        self.sequence = sequence
        self.head = head
        self.next_counter = next_counter
        self.signing = hashlib.blake2b(digest_size=16, key=secret)
        """Signs leases; the key is worked in once, each lease continues on a copy."""
        self.now_us = 0
        self.counters: dict[int, Counter] = {}
        self.windows: dict[tuple[str, int], Counter] = {}
        """The same by (budget, start)."""
        self.slots: dict[str, Slot] = {}
        self.holds: dict[AttemptId, Hold] = {}
        self.settled: OrderedDict[AttemptId, Hold] = OrderedDict()
        self.expiries: list[tuple[int, int, AttemptId]] = []
        """(end of the lease, sequence, attempt), the earliest first; also of holds that have not waited for it."""
        self.expiry_grace_us = 0
        """No lease ends before this moment: callers that waited for the tree may still speak."""
        self.draft: Draft = Draft(0, 0, sequence, head, next_counter)
        self._paths: dict[tuple[object, ...], Path] = {}
        self._paths_of_terms: dict[Terms, Path] = {}
        """The same by the terms themselves, which are shared: found without looking at what they say."""
        self._by_subject: dict[tuple[SubjectKind, str], list[Slot]] = {}
        self._drafts = 0
        self.config = config
        if not in_steps:
            for _ in self.index():
                pass

    # ---- batches -----------------------------------------------------------------------------------------------------

    def begin(self, now_us: int) -> Draft:
        """A new batch at `now_us`; time never goes back within a tree."""
        self._drafts += 1
        self.now_us = max(self.now_us, now_us)
        self.draft = Draft(self._drafts, self.now_us, self.sequence, self.head, self.next_counter)
        return self.draft

    def keep(self) -> None:
        """The journal has the batch."""
        while len(self.settled) > SETTLED_KEPT:
            self.settled.popitem(last=False)
        if len(self.expiries) > 2 * len(self.holds) + EXPIRIES_SPARE:
            self.expiries = [(hold.expires_us, hold.sequence, key) for key, hold in self.holds.items()]
            heapq.heapify(self.expiries)

    def forget_settled(self, until: int) -> None:
        """Holds made up to this entry have left the ledger: their ids are free for new ones."""
        for key in [key for key, hold in self.settled.items() if hold.sequence <= until]:
            del self.settled[key]

    def take_back(self) -> None:
        """The journal does not have the batch: everything is as before it."""
        draft = self.draft
        for change in reversed(draft.undo):
            match change[0]:
                case "held":
                    del self.holds[change[1]]
                case "settled":
                    _, key, hold, legs = change
                    self.settled.pop(key, None)
                    hold.receipt, hold.legs = None, legs
                    hold.unconfirmed = False
                    self.holds[key] = hold
                    heapq.heappush(self.expiries, (hold.expires_us, hold.sequence, key))
                case "corrected":
                    _, hold, hold.receipt, hold.settled_as = change
                    hold.unconfirmed = True
                case "extended":
                    _, hold, number, amount, tokens = change
                    del hold.extensions[number]
                    hold.amount, hold.tokens = amount, tokens
                case "renewed":
                    _, hold, expires_us = change
                    hold.expires_us = expires_us
                case "rolled":
                    _, slot, current, valid_until_us, past = change
                    for counter in slot.past:
                        counter.slot = None
                    slot.current, slot.valid_until_us, slot.past = current, valid_until_us, past
                    for counter in past:
                        counter.slot = slot
                    slot.restate()
                case "limit":
                    _, counter, limit = change
                    counter.limit = limit
        for counter in draft.opened:
            self.forget(counter)
        for counter, figures in draft.touched:
            counter.restore(figures)
            if counter.slot is not None:
                counter.slot.restate()
            slot = self.slots.get(counter.budget_id)
            if slot is not None:
                self.set_alert(slot, counter)
        self.sequence, self.head, self.next_counter = (
            draft.base_sequence,
            draft.base_head,
            draft.base_next_counter,
        )
        self._forget_paths()

    # ---- configuration -----------------------------------------------------------------------------------------------

    def change(self, delta: TreeDelta) -> None:
        """Takes a new configuration in; between batches."""
        config = self.config
        budgets, keys = dict(config.budgets), dict(config.keys)
        for budget_id, budget in delta.budgets.items():
            if budget is None:
                budgets.pop(budget_id, None)
            else:
                budgets[budget_id] = budget
            self._reslot(budget_id, budget)
        for key_id, key in delta.keys.items():
            if key is None:
                keys.pop(key_id, None)
            else:
                keys[key_id] = key
        self.config = TreeConfig(
            config.organisation_id,
            delta.revision,
            delta.prices or config.prices,
            budgets,
            keys,
            config.disabled_users if delta.disabled_users is None else delta.disabled_users,
            config.active if delta.active is None else delta.active,
            config.user_ids if delta.user_ids is None else delta.user_ids,
        )
        self._forget_paths()

    def must_be_read_again(self, delta: TreeDelta) -> bool:
        """Whether a change brings a rolling window back whose buckets may not be in memory."""
        for budget_id, budget in delta.budgets.items():
            if budget is None or not budget.active or not isinstance(budget.window, Rolling):
                continue
            slot = self.slots.get(budget_id)
            if slot is None or slot.budget.window != budget.window:
                return True
        return False

    def _reslot(self, budget_id: str, budget: Budget | None) -> None:
        old = self.slots.pop(budget_id, None)
        if old is not None:
            self._by_subject[old.budget.subject.kind, old.budget.subject.id].remove(old)
            for counter in old.past:
                counter.slot = None
        if budget is None or not budget.active:
            return
        slot = Slot(budget)
        self.slots[budget_id] = slot
        self._by_subject.setdefault((budget.subject.kind, budget.subject.id), []).append(slot)
        same = old is not None and (old.budget.window, old.budget.counts_since) == (
            budget.window,
            budget.counts_since,
        )
        if old is not None and same:
            slot.current, slot.past = old.current, old.past
            for counter in slot.past:
                counter.slot = slot
            slot.restate()

    def index(self) -> Iterator[None]:
        """Puts the budgets to work, step by step."""
        for count, budget in enumerate(self.config.budgets.values()):
            if count % STEP == STEP - 1:
                yield
            if budget.active:
                slot = Slot(budget)
                self.slots[budget.budget_id] = slot
                self._by_subject.setdefault((budget.subject.kind, budget.subject.id), []).append(slot)

    # ---- finding what applies ----------------------------------------------------------------------------------------

    def path(self, terms: Terms) -> Path:
        """The budgets that apply. A path whose time is over (`valid_until_us`) has still to be rolled and checked."""
        path = self._paths_of_terms.get(terms)
        if path is not None:
            return path
        path = self._paths.get(terms.path_name)
        if path is None:
            if len(self._paths) >= PATHS_KEPT:
                self._forget_paths()
            path = Path(terms.principal, terms.model)
            subjects = (
                (SubjectKind.ORGANISATION, self.organisation_id),
                (SubjectKind.TEAM, terms.team_id),
                (SubjectKind.PROJECT, terms.project_id),
                (SubjectKind.KEY, terms.key_id),
                (SubjectKind.USER, self.config.user_ids.get(terms.user_id, terms.user_id)),
            )
            slots = [
                slot
                for subject in subjects
                for slot in self._by_subject.get(subject, ())
                if slot.budget.model_scope is None
                or slot.budget.model_scope.covers(terms.model, terms.groups)
            ]
            path.slots = tuple(slot for slot in slots if not isinstance(slot.budget.window, PerRequest))
            path.ceilings = tuple(slot for slot in slots if isinstance(slot.budget.window, PerRequest))
            self._paths[terms.path_name] = path
        if len(self._paths_of_terms) >= PATHS_KEPT:
            self._paths_of_terms.clear()
        self._paths_of_terms[terms] = path
        return path

    def _forget_paths(self) -> None:
        self._paths.clear()
        self._paths_of_terms.clear()

    def roll(self, slot: Slot, now_us: int) -> tuple[Counter, str]:
        """The slot's counter of the window that `now_us` is in, installed, and what is new about it: `opened`,
        `limit` or nothing. Part of the batch under way, which can take it back."""
        budget, now, draft = slot.budget, from_us(now_us), self.draft
        span = budget.span_at(now)
        start_us, limit = to_us(span.start), budget.limit_at(now)
        counter = self.windows.get((budget.budget_id, start_us))
        new = ""
        if counter is None:
            end_us = NEVER_US if span.end is None else to_us(span.end)
            counter = Counter(self.next_counter, budget.budget_id, slot.unit, start_us, end_us, limit)
            counter.draft = draft.number
            self.next_counter += 1
            draft.opened.append(counter)
            new = "opened"
        if counter is not slot.current or slot.valid_until_us <= now_us:
            draft.undo.append(("rolled", slot, slot.current, slot.valid_until_us, slot.past))
        if counter.limit != limit:
            draft.undo.append(("limit", counter, counter.limit))
            counter.limit = limit
            if counter.draft != draft.number or counter not in draft.opened:
                draft.limits[counter.no] = limit
            new = "limit"
        self.install(slot, counter, now_us)
        return counter, new

    def install(self, slot: Slot, counter: Counter, now_us: int) -> None:
        """Makes `counter` the slot's present one. Past buckets that no longer count are let go."""
        budget = slot.budget
        if slot.rolling is not None:
            past = deque(slot.past)
            if slot.current is not None and slot.current is not counter:
                past.append(slot.current)
            since_us = to_us(rolling_since(slot.rolling, from_us(now_us)))
            for bucket in slot.past:
                bucket.slot = None
            slot.past = deque(bucket for bucket in past if bucket.start_us >= since_us)
            for bucket in slot.past:
                bucket.slot = slot
            slot.restate()
        slot.current = counter
        changes_at = budget.limit_changes_at(from_us(now_us))
        slot.valid_until_us = min(counter.end_us, NEVER_US if changes_at is None else to_us(changes_at))
        self.know(counter)
        self.set_alert(slot, counter)

    def know(self, counter: Counter) -> None:
        """Keeps a counter in memory."""
        self.counters[counter.no] = counter
        self.windows[counter.budget_id, counter.start_us] = counter

    def forget(self, counter: Counter) -> None:
        """Lets a counter go that is over, or that a taken back batch had opened."""
        self.counters.pop(counter.no, None)
        self.windows.pop((counter.budget_id, counter.start_us), None)

    def sweep(self, now_us: int) -> None:
        """Forgets windows that are long over and have no open holds; between batches."""
        over_us = now_us - OVER_KEPT_US
        for counter in [
            c for c in self.counters.values() if c.end_us < over_us and not c.open and c.slot is None
        ]:
            slot = self.slots.get(counter.budget_id)
            if slot is None or slot.current is not counter:
                self.forget(counter)

    def set_alert(self, slot: Slot, counter: Counter) -> None:
        """Finds the amount at which the next alert of this window is due."""
        due = [percent for percent in slot.budget.alert_percents if percent > counter.alerted]
        counter.alert_at = -(-counter.limit * min(due) // 100) if due else NEVER_US

    def ceiling(self, counter: Counter) -> int:
        """What the database checks `held + spent` of a counter against."""
        slot = self.slots.get(counter.budget_id)
        return counter.limit if slot is None or slot.refuses else LIMIT_MAX

    def next_expiry_us(self) -> int | None:
        """When the next lease ends, at the earliest; None: nothing is open."""
        if not self.expiries:
            return None
        return max(self.expiries[0][0], self.expiry_grace_us)

    def open_sequences(self) -> Iterator[int]:
        """Sequences of the entries that make up the open holds."""
        for hold in self.holds.values():
            yield hold.sequence
            if hold.extensions:
                yield from (sequence for _, _, sequence, _, _ in hold.extensions.values())
