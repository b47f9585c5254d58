from typing import Any

import pytest

from services.router.domain.fallback import Next, RetryBudget, RetryClass, Stop, after_failure, patience
from services.router.domain.plan import Planned
from tests.support.boards import board, model

ON = board(model("v/a", context_tokens_max=8_000), model("v/b", context_tokens_max=64_000), model("v/c"))
PLAN = tuple(Planned(index, 100, 1000, 50) for index in range(3))


def follow(retry_class: RetryClass, tried: tuple[int, ...] = (0,), **more: Any) -> Next | Stop:
    given = {
        "retry_after_s": None,
        "attempts_left": 2,
        "left_s": 10.0,
        "retries_allowed": True,
        "draw": 0.5,
        **more,
    }
    return after_failure(ON, PLAN, tried, PLAN[tried[-1]], retry_class, **given)


@pytest.mark.parametrize(
    "retry_class",
    [RetryClass.SAME_ENDPOINT, RetryClass.OTHER_CREDENTIAL, RetryClass.OTHER_MODEL],
)
def test_another_candidate_comes_at_once(retry_class: RetryClass) -> None:
    assert follow(retry_class, retry_after_s=5.0) == Next(PLAN[1])


def test_a_request_at_fault_is_not_tried_elsewhere() -> None:
    assert isinstance(follow(RetryClass.NEVER), Stop)


def test_a_larger_context_is_larger() -> None:
    assert follow(RetryClass.LARGER_CONTEXT) == Next(PLAN[1])
    assert isinstance(follow(RetryClass.LARGER_CONTEXT, (0, 2)), Next | Stop)
    assert follow(RetryClass.LARGER_CONTEXT, (0, 1)) == Next(PLAN[2])


def test_without_others_the_same_endpoint_is_asked_after_a_pause() -> None:
    step = follow(RetryClass.SAME_ENDPOINT, (0, 1, 2))
    assert isinstance(step, Next)
    assert step.purpose == "retry"
    assert 0 < step.after_s < 0.2
    hinted = follow(RetryClass.SAME_ENDPOINT, (0, 1, 2), retry_after_s=3.0)
    assert isinstance(hinted, Next)
    assert hinted.after_s > 3.0


@pytest.mark.parametrize(
    "more",
    [
        {"retry_after_s": 11.0},
        {"retries_allowed": False},
        {"attempts_left": 0},
        {"left_s": 0.01},
    ],
)
def test_it_ends_where_trying_again_is_no_use(more: dict[str, Any]) -> None:
    assert isinstance(follow(RetryClass.SAME_ENDPOINT, (0, 1, 2), **more), Stop)


def test_pauses_grow_and_are_drawn() -> None:
    pauses = [follow(RetryClass.SAME_ENDPOINT, (1, 2, *(0,) * times), draw=1.0) for times in range(1, 5)]
    seconds = [step.after_s for step in pauses if isinstance(step, Next)]
    assert seconds == [0.2, 0.4, 0.8, 1.6]


def test_a_stall_leaves_time_for_the_others() -> None:
    assert patience(10.0, 1.0, others=0).first_token_s == 10.0
    shared = patience(10.0, 1.0, others=1)
    assert (shared.connect_s or 0) + shared.first_token_s == 5.0
    among_four = patience(12.0, 1.0, others=3)
    assert (among_four.connect_s or 0) + among_four.first_token_s == 3.0
    probe, usual = (patience(100.0, 4.0, others=1, probing=probing) for probing in (True, False))
    assert probe.first_token_s < usual.first_token_s / 2
    assert patience(1000.0, 100.0, others=1).first_token_s <= 60.0


def test_nobody_has_less_than_a_fair_time_for_the_sake_of_others() -> None:
    shared = patience(3.0, 1.0, others=5)
    assert (shared.connect_s or 0) + shared.first_token_s == 2.0
    assert shared.fair
    alone = patience(1.2, 0.8, others=2)
    assert (alone.connect_s, alone.first_token_s, alone.fair) == (None, 1.2, False)
    assert patience(2.0, 0.8, others=0).fair


def test_retries_are_a_share_of_requests() -> None:
    budget = RetryBudget()
    made = 0
    for _ in range(1_000):
        budget.request()
        if budget.allows:
            budget.retry()
            made += 1
    assert 100 <= made <= 111
