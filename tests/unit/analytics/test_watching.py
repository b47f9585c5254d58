"""What a watcher is told: every entry of his scope once, in bounded memory, whatever comes in whatever pages."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.domain.queries import Scope
from services.analytics.domain.usage import UsageEntry
from services.analytics.domain.watching import EVENTS_MAX, Matches
from services.analytics.use_cases.watch import WATCHERS_MAX, WATCHERS_OF_ONE_MAX, UsageFeed, Watcher
from services.kernel.errors import Overloaded
from tests.support.usage import START, page, usage

SCOPE = Scope("org_1")


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope("org_1"), True),
        (Scope("org_2"), False),
        (Scope("org_1", team_id="team_1", project_id="proj_1", key_id="key_1"), True),
        (Scope("org_1", team_id="team_2"), False),
        (Scope("org_1", model_pattern="openai/*"), True),
        (Scope("org_1", model_pattern="*/gpt*"), True),
        (Scope("org_1", model_pattern="openai/gpt-4."), False),
        (Scope("org_1", model_pattern="gpt-4o"), False),
        (Scope("org_1", dimensions={"task": "chat"}), True),
        (Scope("org_1", dimensions={"task": "chat", "route": "x"}), False),
    ],
)
def test_a_scope_matches_as_a_query_would(scope: Scope, expected: bool) -> None:
    assert Matches(scope)(usage(1)) is expected


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=30),
    st.lists(st.sampled_from(["stored", "elsewhere"]), min_size=30, max_size=30),
    st.lists(st.integers(0, 1), min_size=30, max_size=30),
)
def test_each_entry_is_counted_once_whoever_stored_it(
    lengths: list[int], ways: list[str], read_now: list[int]
) -> None:
    """Pages that another replica stored are gaps, which are read in between or at the end."""
    watcher, feed, sequence = Watcher(SCOPE, None, 0), UsageFeed(), 0
    stored: list[UsageEntry] = []

    def catch_up() -> None:
        while watcher.behind:
            gap = [entry for entry in stored if watcher.seen < entry.sequence <= watcher.head]
            watcher.count(gap, up_to=watcher.head)

    with feed.watched("org_1", watcher):
        for length, way, read in zip(lengths, ways, read_now, strict=False):
            entries = [
                usage(number, cost_nanos=number) for number in range(sequence + 1, sequence + length + 1)
            ]
            stored += entries
            if way == "stored":
                feed.stored(page(*entries, after=sequence))
                feed.stored(page(*entries, after=sequence))  # a page that is read again
            else:
                feed.reached({"org_1": sequence + length})
            sequence += length
            if read:
                catch_up()
        catch_up()
    assert watcher.untold.totals.cost_nanos == sum(range(1, sequence + 1))
    assert watcher.untold.totals.attempts == sequence


def test_what_is_not_taken_is_added_up_in_constant_memory() -> None:
    watcher = Watcher(SCOPE, None, 0)
    for number in range(1, 5 * EVENTS_MAX):
        watcher.stored(page(usage(number), after=number - 1))
    news = watcher.untold.tell(START)
    assert [entry.sequence for entry in news.events] == list(range(4 * EVENTS_MAX, 5 * EVENTS_MAX))
    assert news.totals.requests == 5 * EVENTS_MAX - 1
    assert watcher.untold.entries == 0


def test_what_was_released_is_counted_and_is_no_charge() -> None:
    watcher = Watcher(SCOPE, None, 0)
    watcher.stored(page(usage(1, kind="release", cost_nanos=0, outcome="released")))
    news = watcher.untold.tell(START)
    assert (news.events, news.totals.attempts, news.totals.failed) == ((), 1, 1)


def test_there_are_so_many_watches_and_no_more_and_none_of_them_for_one_organisation() -> None:
    feed = UsageFeed()
    with ExitStack() as watching:
        for _ in range(WATCHERS_OF_ONE_MAX):
            watching.enter_context(feed.admitted("org_1"))
        with pytest.raises(Overloaded, match="one organisation"), feed.admitted("org_1"):
            pass
        for number in range(WATCHERS_MAX - WATCHERS_OF_ONE_MAX):
            watching.enter_context(feed.admitted(f"org_{number + 2}"))
        with pytest.raises(Overloaded), feed.admitted("org_0"):
            pass
    with feed.admitted("org_1"):
        pass
