"""What a tree keeps in memory of holds that have come and gone, and of what settled them."""

from datetime import UTC, datetime, timedelta

import pytest

from services.budget.domain.budgets import Budget, Subject, SubjectKind, Unit
from services.budget.domain.config import KeyInForce, TreeConfig
from services.budget.domain.decide import commit, expire, hold, renew
from services.budget.domain.moments import to_us
from services.budget.domain.operations import CommitAsk, HoldAsk, Receipt, RenewAsk, Terms
from services.budget.domain.price_book import OrganisationPrices
from services.budget.domain.recovery import holds_in
from services.budget.domain.tree import EXPIRIES_SPARE, Tree
from services.budget.domain.windows import Lifetime
from services.budget.errors import HoldAlreadySettled

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CALLER = "service:router"
LEASE_US = 60_000_000
USAGE = (900, 300, 100, None, None, None, None, None, None, None, 1)
TERMS = Terms(
    caller=CALLER,
    metering=False,
    principal=("team_1", "proj_1", "key_1", ""),
    model="openai/gpt",
    groups=(),
    price_revision=0,
    lease_us=LEASE_US,
    endpoint_id="end_1",
    dimensions={"task": "chat"},
    digest="0",
)


@pytest.fixture
def tree() -> Tree:
    organisation = Subject(SubjectKind.ORGANISATION, "org_1")
    budget = Budget("bud_1", organisation, Unit.MONEY, 10**15, Lifetime(), BEGIN - timedelta(days=1))
    key = KeyInForce("key_1", "proj_1", "team_1")
    prices = OrganisationPrices((), revision=0)
    return Tree(TreeConfig("org_1", 0, prices, {budget.budget_id: budget}, {key.key_id: key}))


def held(name: str) -> HoldAsk:
    return HoldAsk(name, 1, 1000, 100, 200, TERMS)


def charged(
    name: str,
    cost: int | None = 600,
    *,
    outcome: str = "SUCCEEDED",
    usage: tuple[int | None, ...] | None = USAGE,
    endpoint_id: str = "",
    vendor_request_id: str = "req_1",
) -> CommitAsk:
    return CommitAsk(
        name,
        1,
        CALLER,
        "",
        cost,
        usage,
        outcome,
        endpoint_id,
        vendor_request_id,
        {"route": "r"},
        False,
        False,
    )


def test_leases_that_nobody_waits_for_are_forgotten(tree: Tree) -> None:
    """However many holds come and go within a lease, and though one that came first stays."""
    now_us = to_us(BEGIN)
    tree.begin(now_us)
    hold(tree, held("stays"))
    hold(tree, held("renewed"))
    tree.keep()
    tree.begin(now_us)
    renew(tree, RenewAsk([("renewed", 1)], CALLER, 2 * LEASE_US))
    tree.keep()
    for number in range(4 * EXPIRIES_SPARE):
        tree.begin(now_us + number)
        hold(tree, held(f"goes-{number}"))
        commit(tree, charged(f"goes-{number}"))
        tree.keep()
    assert len(tree.expiries) <= 2 * len(tree.holds) + EXPIRIES_SPARE + 1
    assert tree.next_expiry_us() == now_us + LEASE_US

    tree.begin(now_us + LEASE_US)
    expire(tree)
    tree.keep()
    assert set(tree.holds) == {("renewed", 1)}
    assert tree.settled["stays", 1].unconfirmed
    tree.begin(now_us + 2 * LEASE_US)
    expire(tree)
    assert not tree.holds


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize("cost", [600, None])
def test_the_same_commit_again_gets_its_receipt(tree: Tree, cost: int | None, reread: bool) -> None:
    """By who decided it, and by who reads the ledger later."""
    tree.begin(to_us(BEGIN))
    hold(tree, held("a"))
    receipt = commit(tree, charged("a", cost))
    if reread:
        tree.settled.update(holds_in(entry.body for entry in tree.draft.entries))
    assert commit(tree, charged("a", cost)) == receipt
    assert commit(tree, charged("a", cost, endpoint_id="end_1")) == receipt, "it is where the hold was for"


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize(
    "other",
    [
        charged("a", 601),
        charged("a", None),
        charged("a", usage=None),
        charged("a", usage=(901, *USAGE[1:])),
        charged("a", outcome="INTERRUPTED"),
        charged("a", endpoint_id="end_2"),
        charged("a", vendor_request_id=""),
    ],
)
def test_another_commit_of_the_same_attempt_is_refused(tree: Tree, other: CommitAsk, reread: bool) -> None:
    tree.begin(to_us(BEGIN))
    hold(tree, held("a"))
    commit(tree, charged("a"))
    if reread:
        tree.settled.update(holds_in(entry.body for entry in tree.draft.entries))
    with pytest.raises(HoldAlreadySettled):
        commit(tree, other)


def test_a_cost_that_comes_after_nobody_knew_any_corrects(tree: Tree) -> None:
    """Also if it is all that was held: until then nobody had confirmed it."""
    tree.begin(to_us(BEGIN))
    hold(tree, held("a"))
    unknown = commit(tree, charged("a", None, usage=None))
    assert unknown.unconfirmed
    assert commit(tree, charged("a", None, usage=None)) == unknown
    corrected = commit(tree, charged("a", 1000, usage=None))
    assert corrected == Receipt(1000, 0, 0, False, True, corrected.sequence)
    assert commit(tree, charged("a", 1000, usage=None)) == corrected
