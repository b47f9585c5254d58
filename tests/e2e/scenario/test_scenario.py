"""The scenario in short, over the real services as processes: what each change does to each application."""

import pytest
import uvloop

from bench.scenario.report import report
from bench.scenario.run import Options, Phase, Played, play
from bench.scenario.vendors import NEW

pytestmark = pytest.mark.timeout(280)

SECONDS, RATE = 4.0, 16.0


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("scenario")
    outcome = uvloop.run(play(Options(SECONDS, RATE, seed=3, replicas=1), folder))
    print(report(outcome))
    return outcome


def models(played: Played, application: str, phase: int) -> list[str]:
    return [one.model for one in played.of(application, played.phases[phase])]


def mostly(played: Played, application: str, phase: int) -> str:
    found = models(played, application, phase)
    return max(set(found), key=found.count)


def cost(played: Played, application: str, phase: Phase) -> float:
    found = [one.cost_nanos for one in played.of(application, phase)]
    return sum(found) / len(found)


def test_nobody_failed_no_policy_was_violated_and_the_books_agree(played: Played) -> None:
    assert played.problems == []
    assert len(played.answered) > 100
    assert played.books is not None
    assert played.books.spent_nanos == sum(one.cost_nanos for one in played.answered) > 0


def test_a_vendor_that_is_down_is_replaced_by_one_that_the_policy_permits(played: Played) -> None:
    assert mostly(played, "legal", 0) == "birch/large"
    assert set(models(played, "legal", 1)) == {"cedar/pro"}
    assert mostly(played, "code", 1) == "alder/large"
    assert played.recovery_s is not None


def test_a_price_moves_whom_it_concerns_and_nobody_else(played: Played) -> None:
    assert mostly(played, "extraction", 0) == "cedar/flash"
    assert mostly(played, "extraction", 2) == "alder/small"
    assert mostly(played, "code", 2) == mostly(played, "code", 0) == "birch/large"


def test_a_new_model_is_taken_where_it_may_be_and_lowers_the_cost(played: Played) -> None:
    assert played.adopted_s is not None
    assert mostly(played, "code", 3) == NEW
    assert cost(played, "code", played.phases[3]) < 0.5 * cost(played, "code", played.phases[2])
    for application in ("legal", "support", "extraction"):
        assert NEW not in models(played, application, 3)
