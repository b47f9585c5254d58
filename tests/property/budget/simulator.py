"""A deterministic simulator: real decisions, a store in memory with Postgres' constraints, two owners that crash, pause
and wake as zombies, replies that are lost, limits that change, time that jumps, entries that leave behind checkpoints.
One seed is one history.

After each history everything is held against the ledger by code that shares no line with the service, and every answer
that was given against what came of it.
"""

import random
from collections import Counter as Tally
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.budget.domain import checkpoints, recovery
from services.budget.domain import decide as deciding
from services.budget.domain.budgets import (
    LIMIT_MAX,
    Budget,
    Mode,
    ModelScope,
    ModelScopeKind,
    Subject,
    SubjectKind,
    Unit,
)
from services.budget.domain.config import KeyInForce, TreeConfig, TreeDelta
from services.budget.domain.counters import Counter
from services.budget.domain.entries import (
    ROLE_EXTENSION,
    ROLE_SETTLE,
    Entry,
    Kind,
    chained,
    decoded,
    text,
)
from services.budget.domain.moments import from_us, to_us
from services.budget.domain.operations import (
    CommitAndHoldAsk,
    CommitAsk,
    CommittedAndHeld,
    ExtendAsk,
    Grant,
    HoldAsk,
    Receipt,
    ReleaseAsk,
    Released,
    RenewAsk,
    Renewed,
    Terms,
)
from services.budget.domain.tree import Tree
from services.budget.domain.verifying import ChainWalk, KeptCounter, Totals
from services.budget.domain.windows import (
    Calendar,
    Fixed,
    Lifetime,
    Period,
    PerRequest,
    Rolling,
    rolling_since,
)
from services.budget.use_cases.deciding import refused_strangers
from services.budget.use_cases.parcels import Parcel
from services.kernel.errors import TurnpikeError
from services.kernel.pricing import ModelPrice, PriceTier
from tests.support import ledger_replay

START = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)
ORGANISATION, TEAM, PROJECT, KEY, USER = "org_s", "team_s", "proj_s", "key_s", "user_s"
MODELS = ("openai/gpt", "anthropic/claude")
SECRET = b"s" * 32
RESERVED_RATE, RESERVED_SCOPE = "bud_9", "provider:openai"
"""A rate of which some holds must leave a share to others, and what it counts."""
KEPT_PERMILLE = (0, 150, 400)
SCALE = 10**16
"""Amounts are large, so that arithmetic in floating point would show."""


class Prices:
    """One price for everything."""

    revision = 1

    def price_of(self, model: str, at: datetime) -> ModelPrice | None:
        return ModelPrice(model, (PriceTier(0, 10**15, 10**15),))


def budgets(chance: random.Random, policy: random.Random | None) -> dict[str, Budget]:
    """Budgets of every kind, small enough to be full most of the time; with a `policy` one to keep a share of."""

    def budget(
        number: int, kind: SubjectKind, of: str, unit: Unit, limit: int, window: Any, **more: Any
    ) -> Budget:
        return Budget(
            f"bud_{number}", Subject(kind, of), unit, limit, window, START - timedelta(days=40), **more
        )

    money = SCALE * chance.randint(5, 20)
    berlin = Calendar(Period.DAY, "Europe/Berlin")
    made = [
        budget(0, SubjectKind.ORGANISATION, ORGANISATION, Unit.MONEY, money, berlin),
        budget(1, SubjectKind.TEAM, TEAM, Unit.MONEY, money, Rolling(timedelta(minutes=10), 5)),
        budget(
            2,
            SubjectKind.PROJECT,
            PROJECT,
            Unit.REQUESTS,
            chance.randint(5, 30),
            Rolling(timedelta(minutes=1), 6),
        ),
        budget(3, SubjectKind.KEY, KEY, Unit.CONCURRENCY, chance.randint(3, 12), Lifetime()),
        budget(4, SubjectKind.USER, USER, Unit.TOKENS, 40_000, Fixed(timedelta(hours=1), START)),
        budget(
            5,
            SubjectKind.ORGANISATION,
            ORGANISATION,
            Unit.MONEY,
            money // 2,
            Calendar(Period.HOUR),
            model_scope=ModelScope(ModelScopeKind.PROVIDER, "openai"),
        ),
        budget(6, SubjectKind.TEAM, TEAM, Unit.MONEY, money // 3, Lifetime(), mode=Mode.SHADOW),
        budget(
            7, SubjectKind.PROJECT, PROJECT, Unit.MONEY, money // 2, Calendar(Period.MONTH), mode=Mode.SOFT
        ),
        budget(8, SubjectKind.ORGANISATION, ORGANISATION, Unit.MONEY, SCALE * 3, PerRequest()),
    ]
    if policy is not None:
        openai = ModelScope(ModelScopeKind.PROVIDER, "openai")
        rate = budget(
            9,
            SubjectKind.ORGANISATION,
            ORGANISATION,
            Unit.REQUESTS,
            policy.randint(5, 25),
            Rolling(timedelta(minutes=1), 6),
            model_scope=openai,
        )
        assert (rate.budget_id, str(openai)) == (RESERVED_RATE, RESERVED_SCOPE)
        made.append(rate)
    return {each.budget_id: each for each in made}


def expected_budgets(config: TreeConfig, model: str) -> set[str]:
    """Which budgets a hold must be in, said in other words than the service's."""
    return {
        budget_id
        for budget_id, budget in config.budgets.items()
        if not isinstance(budget.window, PerRequest)
        and (budget.model_scope is None or model.startswith(budget.model_scope.name + "/"))
    }


class StoreRefused(Exception):
    """A constraint said no."""


@dataclass
class Row:
    """A counter in the store."""

    no: int
    budget_id: str
    unit: int
    start_us: int
    end_us: int
    lim: int
    ceiling: int
    held: int = 0
    spent: int = 0
    overage: int = 0
    unconfirmed: int = 0
    open: int = 0
    alerted: int = 0


@dataclass
class Store:
    """One tree in Postgres, with its constraints."""

    config: TreeConfig
    fenced: bool = True
    unique: bool = True
    checked: bool = True
    epoch: int = 0
    sequence: int = 0
    head: bytes = b""
    next_counter: int = 1
    revision: int = 0
    last_at_us: int = 0
    entries: list[Entry] = field(default_factory=list)
    roles: set[tuple[str, int, int]] = field(default_factory=set)
    by_attempt: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    renewals: dict[int, int] = field(default_factory=dict)
    outbox: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    checkpoint: tuple[int, list[int]] = (0, [])
    archived: list[Entry] = field(default_factory=list)
    """What has left."""
    until: int = 0
    """The last entry that may leave, for which the newest checkpoint stands."""
    parts: range = range(0)
    """Sequences of that checkpoint."""

    @property
    def history(self) -> list[Entry]:
        """All that was ever written."""
        return self.archived + self.entries

    def write(self, epoch: int, revision: int, tree: Tree) -> bool:
        """As write_batch and what belongs to it; False: fenced."""
        draft = tree.draft
        if self.fenced and (self.epoch, self.sequence, self.revision) != (
            epoch,
            draft.base_sequence,
            revision,
        ):
            return False
        if draft.is_empty:
            return True
        for entry in draft.entries:
            role = (entry.request_id, entry.attempt, entry.role)
            if self.unique and entry.role is not None and role in self.roles:
                raise StoreRefused(f"{role} is there already")
        rows = {row.no: Row(**vars(row)) for row in self.rows.values()}
        for counter, was in draft.touched:
            row = rows[counter.no]
            now = counter.figures()
            row.held += now[0] - was[0]
            row.spent += now[1] - was[1]
            row.overage += now[2] - was[2]
            row.unconfirmed += now[3] - was[3]
            row.open += now[4] - was[4]
            row.alerted = max(row.alerted, now[5])
        for counter in draft.opened:
            if self.unique and any(
                (r.budget_id, r.start_us) == (counter.budget_id, counter.start_us) for r in rows.values()
            ):
                raise StoreRefused("the window is there already")
            rows[counter.no] = Row(
                counter.no,
                counter.budget_id,
                counter.unit,
                counter.start_us,
                counter.end_us,
                counter.limit,
                tree.ceiling(counter),
                *counter.figures(),
            )
        for no, limit in draft.limits.items():
            rows[no].lim = limit
            rows[no].ceiling = max(tree.ceiling(tree.counters[no]), rows[no].held + rows[no].spent)
        for row in rows.values():
            if self.checked and (
                min(row.held, row.spent, row.overage, row.unconfirmed, row.open) < 0
                or row.held + row.spent > row.ceiling
            ):
                raise StoreRefused(f"counter {row.no} is outside of its bounds")
        self.rows = rows
        self._append(draft.entries)
        self.sequence, self.head, self.next_counter = tree.sequence, tree.head, tree.next_counter
        self.last_at_us = draft.now_us
        self.renewals.update(draft.renewals)
        self.outbox.extend(draft.alerts)
        return True

    def _append(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.entries.append(entry)
            if entry.role is not None:
                self.roles.add((entry.request_id, entry.attempt, entry.role))
                self.by_attempt.setdefault((entry.request_id, entry.attempt), []).append(entry.body)

    def change_limit(self, budget_id: str, limit: int, now_us: int) -> None:
        """As an admin does: entity, counter, entry, revision, in one transaction."""
        budget = self.config.budgets[budget_id]
        changed = Budget(
            budget.budget_id,
            budget.subject,
            budget.unit,
            limit,
            budget.window,
            budget.counts_since,
            budget.model_scope,
            budget.mode,
        )
        self.revision += 1
        now_us = max(now_us, self.last_at_us)
        config = self.config
        self.config = TreeConfig(
            config.organisation_id,
            self.revision,
            config.prices,
            {**config.budgets, budget_id: changed},
            config.keys,
        )
        start_us = to_us(changed.span_at(from_us(now_us)).start)
        for row in self.rows.values():
            if (row.budget_id, row.start_us) == (budget_id, start_us) and row.lim != limit:
                row.lim = limit
                row.ceiling = LIMIT_MAX if changed.mode is not Mode.HARD else max(limit, row.held + row.spent)
                window = [row.no, row.budget_id, row.unit, row.start_us, row.end_us, limit, 1]
                body = f'{{"n":{self.sequence + 1},"k":7,"t":{now_us},"w":{text([window])}}}'.encode()
                self.head = chained(self.head, body)
                self.sequence += 1
                self.entries.append(Entry(self.sequence, Kind.LIMIT, "", 0, None, body, self.head))

    def trim(self, until: int, now_us: int) -> bool:
        """Lets a checkpoint stand for entries up to one, as PostgresArchive does. False: a hold of then is open."""
        begun = [e.body for e in self.entries if e.sequence in self.parts]
        balance = checkpoints.begun_by(begun) if begun else checkpoints.Balance()
        balance.rolling = {
            name for name, budget in self.config.budgets.items() if isinstance(budget.window, Rolling)
        }
        for entry in self.entries:
            if balance.sequence < entry.sequence <= until:
                balance.take(decoded(entry.body), entry.hash)
            elif entry.sequence > until and entry.kind in checkpoints.RIGHTING:
                balance.righted.update(no for leg in decoded(entry.body)["l"] for no in leg[1])
        if any((*key, ROLE_SETTLE) not in self.roles for key in balance.open):
            return False
        parts = balance.fields_of_checkpoint(ORGANISATION)
        self.parts = range(self.sequence + 1, self.sequence + 1 + len(parts))
        now_us = max(now_us, self.last_at_us)
        for fields in parts:
            self.sequence += 1
            body = f'{{"n":{self.sequence},"k":10,"t":{now_us},{fields}}}'.encode()
            self.head = chained(self.head, body)
            self.entries.append(Entry(self.sequence, Kind.CHECKPOINT, "", 0, None, body, self.head))
        self.last_at_us, self.until = now_us, until
        self.revision += 1
        for key in balance.open:
            self.roles -= {(*key, role) for role in range(ROLE_EXTENSION + 2)}
            self.by_attempt.pop(key, None)
        return True

    def remove(self, count: int) -> None:
        """Removes some of what may leave."""
        for _ in range(count):
            if not self.entries or self.entries[0].sequence > self.until:
                return
            entry = self.entries.pop(0)
            self.archived.append(entry)
            known = self.by_attempt.get((entry.request_id, entry.attempt), [])
            if entry.role is not None and entry.body in known:
                known.remove(entry.body)
                self.roles.discard((entry.request_id, entry.attempt, entry.role))


@dataclass
class Owner:
    """A replica that owns the tree, or believes so."""

    name: str
    store: Store
    tree: Tree | None = None
    epoch: int = 0
    revision: int = 0

    def claim(self, now_us: int) -> None:
        """Takes the tree over and reads it."""
        store = self.store
        store.epoch += 1
        self.epoch, self.revision = store.epoch, store.revision
        tree = Tree(
            store.config,
            sequence=store.sequence,
            head=store.head,
            next_counter=store.next_counter,
            secret=SECRET,
        )
        tree.now_us = store.last_at_us
        now_us = max(now_us, store.last_at_us)
        rolling = {
            slot.budget.budget_id: to_us(rolling_since(slot.rolling, from_us(now_us)))
            for slot in tree.slots.values()
            if slot.rolling
        }
        live = [
            _counter(row)
            for row in store.rows.values()
            if row.end_us > now_us or row.open or row.start_us >= rolling.get(row.budget_id, row.start_us + 1)
        ]
        for _ in recovery.install_counters(tree, live, now_us):
            pass
        after, still_open = store.checkpoint
        known = [
            e.body
            for e in store.entries
            if e.sequence > store.until and (e.sequence > after or e.sequence in still_open)
        ]
        holds = recovery.holds_in(known)
        missing = recovery.missing_counters(tree, holds.values())
        recovery.know_counters(tree, [_counter(store.rows[no]) for no in missing])
        recovery.adopt(tree, holds.values(), store.renewals)
        self.tree = tree

    def catch_up(self) -> bool:
        """Reads what an admin changed; False: another owns the tree."""
        store, tree = self.store, self.tree
        assert tree is not None
        if store.epoch != self.epoch:
            return False
        tree.change(TreeDelta(store.revision, dict(store.config.budgets)))
        written = [entry.body for entry in store.entries if entry.sequence > tree.sequence]
        if not recovery.take_in(tree, written, store.sequence):
            return False
        tree.sequence, tree.head, tree.next_counter = store.sequence, store.head, store.next_counter
        self.revision = store.revision
        return True

    def look_up(self, asks: list[Any], used: bool) -> bool:
        """Brings what the ledger alone knows into memory: of what is to be held only where `used`. False: another owns
        the tree, and nothing may be mixed."""
        tree = self.tree
        assert tree is not None
        spoken_of = {key for ask in asks for key in _keys(ask, used=used)}
        return self.find(
            {key for key in spoken_of if key not in tree.holds and key not in tree.settled}
        ) and (self._find_windows([tree.settled[key] for key in spoken_of if key in tree.settled]))

    def find(self, keys: set[tuple[str, int]]) -> bool:
        """Brings attempts into memory that the ledger has. False: as above."""
        tree = self.tree
        assert tree is not None
        mine = self.epoch == self.store.epoch
        for key in sorted(keys):
            if key in self.store.by_attempt and not mine:
                return False
            holds = recovery.holds_in(self.store.by_attempt.get(key, ()), self.store.until)
            missing = recovery.missing_counters(tree, holds.values())
            recovery.know_counters(tree, [_counter(self.store.rows[no]) for no in missing])
            recovery.adopt(tree, [hold for hold in holds.values() if hold.receipt is not None], {})
        return True

    def _find_windows(self, settled: list[Any]) -> bool:
        tree, mine = self.tree, self.epoch == self.store.epoch
        assert tree is not None
        for held in settled:
            gone = [no for _, numbers in held.legs_numbers for no in numbers if no not in tree.counters]
            if gone and not mine:
                return False
            recovery.know_counters(tree, [_counter(self.store.rows[no]) for no in gone])
        return True


def _keys(ask: Any, *, used: bool) -> list[tuple[str, int]]:
    match ask:
        case CommitAndHoldAsk():
            return [*_keys(ask.settle, used=used), *_keys(ask.hold, used=used)]
        case RenewAsk():
            return []
        case HoldAsk() if not used:
            return []
    return [(ask.request_id, ask.attempt)]


def _counter(row: Row) -> Counter:
    return Counter(
        row.no, row.budget_id, row.unit, row.start_us, row.end_us, row.lim,
        held=row.held, spent=row.spent, overage=row.overage, unconfirmed=row.unconfirmed, open=row.open,
        alerted=row.alerted,
    )  # fmt: skip


class Wrong(AssertionError):
    """Something that must never be."""


@dataclass
class Simulation:
    """One history."""

    seed: int
    operations: int = 1500
    fenced: bool = True
    unique: bool = True
    checked: bool = True
    early_acknowledgement: bool = False
    reserves: bool = True
    """Whether holds may have to leave a share of a rate to others. False: a history from before there was that."""
    trims: bool = True
    """Whether entries leave, and used ids are looked up only where needed. False: a history from before that."""
    runs: bool = True
    """Whether a request whose hold was lost with its owner may be asked for by another run, beside what the first one
    still frees. False: a history from before there was that."""
    tally: Tally[str] = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.policy = random.Random(f"{self.seed} policy") if self.reserves else None
        self.leaving = random.Random(f"{self.seed} trims") if self.trims else None
        self.another = random.Random(f"{self.seed} runs") if self.runs else None
        config = TreeConfig(
            ORGANISATION,
            0,
            Prices(),
            budgets(self.chance, self.policy),
            {KEY: KeyInForce(KEY, PROJECT, TEAM, USER)},
        )
        self.store = Store(config, self.fenced, self.unique, self.checked)
        self.owners = [Owner("a", self.store), Owner("b", self.store)]
        self.now_us = to_us(START)
        self.terms = {
            (model, permille): Terms(
                caller="service:router",
                metering=False,
                principal=(TEAM, PROJECT, KEY, USER),
                model=model,
                groups=(),
                price_revision=0,
                lease_us=60_000_000,
                endpoint_id="",
                dimensions={},
                digest=f"d{number}",  # what is kept for others is no part of what is asked for
                keep_free={RESERVED_SCOPE: permille} if permille else None,
            )
            for number, model in enumerate(MODELS)
            for permille in KEPT_PERMILLE
        }
        self.number = 0
        self.open: dict[tuple[str, int], int] = {}
        """Granted and not settled, as far as callers know; with the amount."""
        self.past: list[tuple[str, int]] = []
        self.acknowledged: list[tuple[Any, Any]] = []
        self.leases: dict[int, int] = {}
        """When the lease of a hold ends, by its entry, as far as callers know."""
        self.held: dict[tuple[str, int], int] = {}
        """Entry of the hold that was granted last."""
        self.begun: list[HoldAsk] = []
        self.lost: list[HoldAsk] = []
        """Holds that were asked for and never answered: their run gives up."""
        self.kept: dict[int, dict[str, int]] = {}
        """Holds, by their entries, that were to leave a share to others."""

    def run(self) -> None:
        """Lets the history happen, then verifies it."""
        self.owners[0].claim(self.now_us)
        done = 0
        while done < self.operations:
            self.now_us += self.chance.choice((0, 1000, 50_000, 2_000_000, 20_000_000))
            if self.chance.random() < 0.002:
                self.now_us += 7_200_000_000
            event = self.chance.random()
            if event < 0.03:
                self.chance.choice(self.owners).claim(self.now_us)
            elif event < 0.04:
                self.store.checkpoint = self._checkpoint()
            elif event < 0.07:
                self._change_limit()
            if self.leaving:
                self._let_leave(self.leaving)
            owner = self.chance.choice(self.owners)
            if owner.tree is None:
                owner.claim(self.now_us)
            asks = [self._ask() for _ in range(self.chance.randint(1, 12))]
            done += len(asks)
            self._batch(owner, asks)
        self._finish()
        self._verify()

    def _checkpoint(self) -> tuple[int, list[int]]:
        current = [
            o
            for o in self.owners
            if o.epoch == self.store.epoch and o.tree and o.tree.sequence == self.store.sequence
        ]
        if not current:
            return self.store.checkpoint
        tree = current[0].tree
        assert tree is not None
        return (tree.sequence, list(tree.open_sequences()))

    def _let_leave(self, leaving: random.Random) -> None:
        store = self.store
        if leaving.random() < 0.08 and store.sequence > store.until:
            until = leaving.randint(store.until + 1, store.sequence)
            done = store.trim(until, self.now_us)
            self.tally["a checkpoint stands for entries" if done else "a checkpoint waits for holds"] += 1
        if leaving.random() < 0.2:
            store.remove(leaving.choice((1, 20, 1000)))

    def _change_limit(self) -> None:
        budget = self.chance.choice(
            [
                budget
                for budget in self.store.config.budgets.values()
                if budget.unit is Unit.MONEY and not isinstance(budget.window, PerRequest)
            ]
        )
        self.store.change_limit(budget.budget_id, SCALE * self.chance.randint(0, 20), self.now_us)
        self.tally["limit changed"] += 1

    # ---- what is asked -----------------------------------------------------------------------------------------------

    def _ask(self) -> Any:
        chance = self.chance
        if self.another and self.lost and self.another.random() < 0.05:
            return self._after_a_loss(self.another)
        kind = chance.random()
        keys = list(self.open)
        if kind < 0.45 or not keys:
            return self._hold()
        key = chance.choice(keys)
        if kind < 0.72:
            return self._commit(key)
        if kind < 0.78:
            return ReleaseAsk(*key, self._caller(), "", "never sent")
        if kind < 0.84:
            settle = (
                self._commit(key) if chance.random() < 0.7 else ReleaseAsk(*key, "service:router", "", "")
            )
            hold = self._hold()
            hold.request_id, hold.attempt = key[0], key[1] + 1
            return CommitAndHoldAsk(settle, hold)
        if kind < 0.90:
            return ExtendAsk(*key, "service:router", 1, SCALE // chance.randint(1, 10), chance.randint(0, 50))
        if kind < 0.93:
            return RenewAsk([key], "service:router", 120_000_000)
        if kind < 0.96 and self.past:
            return self._commit(chance.choice(self.past))  # late, or the same again in other words
        if self.begun:
            again = chance.choice(self.begun)  # the same again, or its id with other content
            amount = again.amount if chance.random() < 0.7 else SCALE // 7
            terms = self._under_policy(again.terms.model)  # which may have changed meanwhile
            return HoldAsk(
                again.request_id,
                again.attempt,
                amount,
                again.input_tokens,
                again.output_tokens,
                terms,
                again.claim,
            )
        return self._hold()

    def _after_a_loss(self, another: random.Random) -> Any:
        """A run that was not answered frees what it may hold; meanwhile another run asks for the same."""
        lost = another.choice(self.lost[-5:])
        if another.random() < 0.5:
            return ReleaseAsk(
                lost.request_id, lost.attempt, "service:router", "", "nothing was sent", lost.claim
            )
        again = HoldAsk(
            lost.request_id,
            lost.attempt,
            lost.amount,
            lost.input_tokens,
            lost.output_tokens,
            lost.terms,
            f"again.{another.randrange(3)}",
        )
        self.begun.append(again)
        return again

    def _under_policy(self, model: str) -> Terms:
        return self.terms[model, self.policy.choice(KEPT_PERMILLE) if self.policy else 0]

    def _caller(self) -> str:
        return "service:router" if self.chance.random() < 0.9 else "key_stranger"

    def _hold(self) -> HoldAsk:
        self.number += 1
        amount = SCALE * self.chance.choice((0, 1, 1, 1, 2, 4)) + self.chance.randint(0, 999)
        ask = HoldAsk(
            f"r{self.number}",
            1,
            amount,
            100,
            self.chance.randint(0, 4000),
            self._under_policy(self.chance.choice(MODELS)),
            "first" if self.runs else "",
        )
        self.begun.append(ask)
        return ask

    def _commit(self, key: tuple[str, int]) -> CommitAsk:
        chance = self.chance
        amount = self.open.get(key, SCALE)
        cost = chance.choice((0, amount // 3, amount, amount, amount + 7, None))
        usage = (50, 100, None, None, None, None, None, None, None, None, 1) if cost is not None else None
        outcome = "SUCCEEDED" if cost is not None else "UNKNOWN"
        return CommitAsk(*key, self._caller(), "", cost, usage, outcome, "", "", {}, False, False)

    # ---- what happens to it ------------------------------------------------------------------------------------------

    def _batch(self, owner: Owner, asks: list[Any]) -> None:
        """Decides and writes, as TreeOwner does; crashes and lost replies on the way."""
        chance, before, refused = self.chance, self.store.sequence, False
        unheard_of: set[tuple[str, int]] = set()
        for _ in range(4):
            tree = owner.tree
            assert tree is not None
            if not owner.look_up(asks, used=refused or not self.trims):
                owner.tree = None
                self.tally["stepped down at a look-up"] += 1
                return
            answers = self._decide(tree, asks)
            if self.trims:
                parcel = Parcel(asks, [0.0] * len(asks), lambda outcomes: None)
                strangers = set(refused_strangers(tree, [parcel], [answers])) - unheard_of
                if not owner.find(strangers):
                    owner.tree = None
                    self.tally["stepped down at a look-up"] += 1
                    return
                unheard_of |= {key for key in strangers if key not in tree.settled}
                if strangers - unheard_of:
                    self.tally["a refused hold was settled long ago"] += 1
                    tree.take_back()
                    answers = self._decide(tree, asks)
            fate = chance.random()
            if self.early_acknowledgement:
                self._heard(asks, answers, before)
            if fate < 0.02:  # dies before it writes
                owner.tree = None
                self.tally["died before its write"] += 1
                holds = [ask.hold if isinstance(ask, CommitAndHoldAsk) else ask for ask in asks]
                self.lost += [hold for hold in holds if isinstance(hold, HoldAsk)]
                return
            try:
                written = self.store.write(owner.epoch, owner.revision, tree)
            except StoreRefused:
                self.tally["refused by the store"] += 1
                refused = True
                unheard_of.clear()
                tree.take_back()
                owner.tree = None
                owner.claim(self.now_us)
                continue
            if not written:
                self.tally["fenced"] += 1
                tree.take_back()
                if not owner.catch_up():
                    owner.tree = None  # another owns it: this one steps down
                    return
                continue
            self._compare(owner, tree)
            if fate < 0.06:  # dies after its write, before it answers: callers ask again
                owner.tree = None
                self.tally["died before its answer"] += 1
                owner.claim(self.now_us)
                continue
            tree.keep()
            if chance.random() < 0.05:
                tree.sweep(tree.now_us)
            if chance.random() < 0.02:
                tree.settled.clear()  # as if they had been pushed out by newer ones
            if not self.early_acknowledgement:
                self._heard(asks, answers, before)
            return

    def _decide(self, tree: Tree, asks: list[Any]) -> list[Any]:
        tree.begin(self.now_us)
        deciding.expire(tree)
        answers: list[Any] = []
        for ask in asks:
            try:
                answers.append(deciding.decide(tree, ask))
            except TurnpikeError as refusal:
                answers.append(refusal)
        return answers

    def _compare(self, owner: Owner, tree: Tree) -> None:
        """Memory and store agree after each commit of the present owner."""
        if owner.epoch != self.store.epoch:
            return
        for counter in tree.counters.values():
            row = self.store.rows[counter.no]
            if counter.figures() != (
                row.held,
                row.spent,
                row.overage,
                row.unconfirmed,
                row.open,
                row.alerted,
            ):
                raise Wrong(f"counter {counter.no} is {counter.figures()} in memory and {row} in the store")
            if counter.limit != row.lim:
                raise Wrong(
                    f"counter {counter.no} has the limit {counter.limit} in memory and {row.lim} in the store"
                )

        self._compare_rolling(tree)

    def _compare_rolling(self, tree: Tree) -> None:
        """A rolling window counts all buckets that still count; one that was over when it was read may count none."""
        for slot in tree.slots.values():
            if slot.rolling is None or slot.current is None:
                continue
            if slot.rest != sum(bucket.used for bucket in slot.past):
                raise Wrong(
                    f"{slot.budget.budget_id} has a rest of {slot.rest}, its buckets use something else"
                )
            since_us = to_us(rolling_since(slot.rolling, from_us(tree.now_us)))
            counted = {bucket.no for bucket in (*slot.past, slot.current) if bucket.start_us >= since_us}
            there = {
                row.no
                for row in self.store.rows.values()
                if row.budget_id == slot.budget.budget_id and row.start_us >= since_us
            }
            if counted != there:
                raise Wrong(f"{slot.budget.budget_id} counts {counted} of {there}")

    def _heard(self, asks: list[Any], answers: list[Any], before: int) -> None:
        """Answers reach their callers; what was decided of them has sequences after `before`."""
        for ask, answer in zip(asks, answers, strict=True):
            self.tally[f"{type(ask).__name__} {getattr(answer, 'reason', type(answer).__name__)}"] += 1
            self.acknowledged.append((ask, answer))
            settle = ask.settle if isinstance(ask, CommitAndHoldAsk) else ask
            if isinstance(settle, CommitAsk | ReleaseAsk):
                key = (settle.request_id, settle.attempt)
                if not isinstance(answer, TurnpikeError):
                    if settle.caller != "service:router":
                        raise Wrong(f"a stranger settled {key}")
                    self.open.pop(key, None)
                    self.past.append(key)
                elif answer.reason == "HOLD_ALREADY_SETTLED":
                    self.open.pop(key, None)
            hold = ask.hold if isinstance(ask, CommitAndHoldAsk) else ask
            grant = answer.grant if isinstance(answer, CommittedAndHeld) else answer
            if isinstance(hold, HoldAsk) and isinstance(grant, Grant):
                self.open[hold.request_id, hold.attempt] = grant.amount
                self.held[hold.request_id, hold.attempt] = grant.sequence
                self.leases[grant.sequence] = grant.lease_expires_us
                permille = (hold.terms.keep_free or {}).get(RESERVED_SCOPE, 0)
                if grant.sequence > before and hold.terms.model.startswith("openai/"):
                    self.kept.setdefault(grant.sequence, {RESERVED_RATE: permille})
            if isinstance(ask, RenewAsk) and isinstance(answer, Renewed) and not answer.not_open:
                self.leases[self.held[ask.keys[0]]] = answer.lease_expires_us
            refusal = answer.refusal if isinstance(answer, CommittedAndHeld) else answer
            if getattr(refusal, "reason", "") in ("BUDGET_EXHAUSTED", "RATE_LIMITED"):
                self._must_not_fit(refusal, hold)

    def _must_not_fit(self, refusal: Any, ask: Any) -> None:
        """Each budget that refused had no room, by its own figures."""
        for shortfall in refusal.shortfalls:
            left = shortfall.limit - shortfall.spent - shortfall.held - shortfall.overage
            if left >= shortfall.asked and shortfall.limit:
                raise Wrong(f"{shortfall} fits and is refused")
            budget = self.store.config.budgets[shortfall.budget_id]
            if budget.mode is not Mode.HARD:
                raise Wrong(f"{shortfall.budget_id} lets pass and refused")
            if shortfall.budget_id == RESERVED_RATE:
                keep_free = ask.terms.keep_free if isinstance(ask, HoldAsk) else None
                kept = budget.limit * (keep_free or {}).get(RESERVED_SCOPE, 0) // 1000
                if shortfall.limit not in (budget.limit, budget.limit - kept):
                    raise Wrong(f"{shortfall} is told of another limit, {kept} are kept for others")
                self.tally["refused for the sake of others"] += shortfall.limit < budget.limit

    def _finish(self) -> None:
        """Silence ends what is open."""
        owner = self.owners[0]
        owner.claim(self.now_us)
        for _ in range(20):
            self.now_us += 3_600_000_000
            self._batch(owner, [])
            if owner.tree is None:
                owner.claim(self.now_us)

    # ---- the verdict -------------------------------------------------------------------------------------------------

    def _verify(self) -> None:
        store = self.store
        rolling = {
            budget.budget_id: (
                budget.window.bucket_length // timedelta(microseconds=1),
                budget.window.buckets,
            )
            for budget in store.config.budgets.values()
            if isinstance(budget.window, Rolling)
        }
        lenient = frozenset(b.budget_id for b in store.config.budgets.values() if b.mode is not Mode.HARD)
        state = ledger_replay.replay(
            ((entry.sequence, entry.body, entry.hash) for entry in store.history),
            rolling=rolling,
            lenient=lenient,
            kept=self.kept,
        )
        problems = [*state.problems]
        problems += ledger_replay.compare(state, [vars(row) for row in store.rows.values()])
        problems += [f"{key} is open for ever" for key, a in state.attempts.items() if a.state == "open"]
        problems += self._paths() + self._alerts(state) + self._answers(state)
        problems += self._what_is_left(rolling, lenient) if store.until else []
        if problems:
            raise Wrong("; ".join(problems[:5]))

    def _what_is_left(self, rolling: dict[str, tuple[int, int]], lenient: frozenset[str]) -> list[str]:
        """The checkpoint says what entries before it came to, and what is left of the ledger is a ledger."""
        store = self.store
        bodies = [entry.body for entry in store.entries if entry.sequence in store.parts]
        begun = ledger_replay.begun_by(bodies)
        rows = [(entry.sequence, entry.body, entry.hash) for entry in store.history]
        before = ledger_replay.replay(rows[: store.until])
        wrong = (
            [] if begun.previous == rows[store.until - 1][2] else ["the checkpoint is about another entry"]
        )
        for no, window in before.windows.items():
            said = begun.windows.get(no)
            figures = (window.limit, window.held, window.spent, window.overage)
            if said is None and (window.end is None or window.end > begun.closed):
                wrong.append(f"the checkpoint leaves window {no} out, which was not over")
            elif said is not None and figures != (said.limit, said.held, said.spent, said.overage):
                wrong.append(f"the checkpoint says {said} of window {no}, it was {figures}")
        self.tally["windows left out of a checkpoint"] += len(before.windows) - len(begun.windows)
        counters = [vars(row) for row in store.rows.values()]
        totals = {no: Totals(w.held, w.spent, w.overage) for no, w in begun.windows.items()}
        walk = ChainWalk(store.until, begun.previous, b"", totals, begun.closed)
        for row in rows[store.until :]:
            walk.step(*row)
        kept = (
            KeptCounter(c["no"], c["budget_id"], Totals(c["held"], c["spent"], c["overage"]), c["end_us"])
            for c in counters
        )
        finding = walk.end(kept, store.sequence)
        wrong += [finding.problem] if finding.problem else []
        wrong += finding.total_mismatches
        after = ledger_replay.replay(
            rows[store.until :], begun=begun, rolling=rolling, lenient=lenient, kept=self.kept
        )
        return wrong + after.problems + ledger_replay.compare(after, counters)

    def _paths(self) -> list[str]:
        """Every hold is in every budget that applies, in the window of its moment, and silence came when it was due."""
        wrong = []
        for entry in self.store.history:
            fields = decoded(entry.body)
            if entry.kind == Kind.EXPIRE:
                due = self.leases.get(fields["h"])
                if due is not None and fields["t"] < due:
                    wrong.append(f"{entry.request_id} expired {due - fields['t']} µs before its lease ended")
            if entry.kind != Kind.HOLD:
                continue
            rows = [self.store.rows[no] for _, numbers, *_ in fields["l"] for no in numbers]
            found = {row.budget_id for row in rows}
            wanted = expected_budgets(self.store.config, fields["m"])
            if found != wanted or len(rows) != len(found):
                wrong.append(f"{entry.request_id} is held in {sorted(found)} instead of {sorted(wanted)}")
            if any(not row.start_us <= fields["t"] < row.end_us for row in rows):
                wrong.append(f"{entry.request_id} is held in a window of another time")
            if fields["$"] > SCALE * 3:
                wrong.append(f"{entry.request_id} is above the ceiling of one request")
        return wrong

    def _alerts(self, state: ledger_replay.Replay) -> list[str]:
        """Each share of a limit that spending reached was told, and told once."""
        told = Tally(
            (facts["budget_id"], facts["window_start_us"], facts["percent"])
            for _, kind, facts in self.store.outbox
            if kind == "threshold"
        )
        wrong = [f"{what} was told {times} times" for what, times in told.items() if times > 1]
        for row in self.store.rows.values():
            if row.lim and (row.spent + row.overage) >= row.lim * 10**6 and not row.alerted:
                wrong.append(f"nobody was told of {row}")
        overages = {entry.sequence for entry in self.store.history if "o" in decoded(entry.body)}
        told_of = {sequence for sequence, kind, _ in self.store.outbox if kind == "overage"}
        wrong += [
            f"nobody was told of the overage of entry {sequence}" for sequence in sorted(overages - told_of)
        ]
        return wrong

    def _answers(self, state: ledger_replay.Replay) -> list[str]:
        wrong = []
        bodies = {entry.sequence: decoded(entry.body) for entry in self.store.history}
        contents: dict[tuple[str, int, int], str] = {}
        for ask, answer in self.acknowledged:
            hold = ask.hold if isinstance(ask, CommitAndHoldAsk) else ask
            grant = answer.grant if isinstance(answer, CommittedAndHeld) else answer
            receipt = answer.receipt if isinstance(answer, CommittedAndHeld) else answer
            if isinstance(hold, HoldAsk) and isinstance(grant, Grant):
                key = (hold.request_id, hold.attempt)
                entry = bodies.get(grant.sequence)
                if entry is None or (entry["k"], entry["r"], entry["a"]) != (1, *key):
                    wrong.append(f"the grant of {key} is not in the ledger")
                if contents.setdefault((*key, grant.sequence), hold.digest) != hold.digest:
                    wrong.append(f"{key} was granted with two contents")
            if isinstance(ask, CommitAsk | CommitAndHoldAsk) and isinstance(receipt, Receipt):
                settle = ask.settle if isinstance(ask, CommitAndHoldAsk) else ask
                entry = bodies.get(receipt.sequence)
                if entry is None or entry.get("r") != settle.request_id:
                    wrong.append(f"the receipt of {settle.request_id} is not in the ledger")
                elif (
                    isinstance(settle, CommitAsk)
                    and settle.cost is not None
                    and receipt.charged != settle.cost
                ):
                    wrong.append(f"{settle.request_id} cost {settle.cost} and was charged {receipt.charged}")
            if (
                isinstance(answer, CommittedAndHeld)
                and answer.grant
                and answer.grant.sequence < answer.receipt.sequence
            ):
                wrong.append(f"{ask.hold.request_id} was held for before it was settled")
            if isinstance(answer, Released):
                entry = bodies.get(answer.sequence, {})
                if entry.get("k") not in (2, 3, 6):
                    wrong.append(f"the release of {ask.request_id} is not in the ledger")
                elif ask.claim and not bodies[entry["h"]]["d"].endswith(f".{ask.claim}"):
                    wrong.append(f"run {ask.claim} of {ask.request_id} freed the hold of another run")
        return wrong
