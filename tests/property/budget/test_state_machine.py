"""The whole service over a real Postgres against the oracle: the same questions, the same answers, the same figures."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.chassis.status import RemoteError
from tests.property.budget.oracle import Oracle, OracleBudget
from tests.support.budget import attempt, commit, hold, serving_budget
from tests.support.budget_admin import make_tenant, request_id
from tests.support.databases import Databases
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.entities_pb2 import Budget, BudgetSubject, ModelScope, RequestWindow, Window
from turnpike.common.v1.error_pb2 import (
    BUDGET_UNIT_CONCURRENCY,
    BUDGET_UNIT_MONEY,
    BUDGET_UNIT_REQUESTS,
    BUDGET_UNIT_TOKENS,
)
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.usage_pb2 import Usage

INPUT_TOKENS = 10
SHARED = "openai"
"""Whose rate holds may have to leave a share of to others."""

numbers = st.integers(0, 5)
amounts = st.integers(0, 400)
costs = st.none() | st.integers(0, 500)


class Service:
    """The service in a thread of its own, for tests that are not asynchronous."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._serving = serving_budget(dsn)
        self.budgets = self.do(self._serving.__aenter__())
        self.operator = self.do(self.budgets.operator())
        self.router = self.do(self.budgets.router())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def ask(self, method: str, request: Any) -> Any:
        """The response, or the reason of the refusal."""
        try:
            return self.do(getattr(self.router, method)(request))
        except RemoteError as refusal:
            return refusal.reason

    def close(self) -> None:
        self.do(self._serving.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def service(databases: Databases) -> Iterator[Service]:
    with databases.fresh() as dsn:
        serving = Service(dsn)
        yield serving
        serving.close()


class Machine(RuleBasedStateMachine):
    """One tenant's history."""

    service: Service

    @initialize(money=st.integers(300, 1500), requests=st.integers(2, 8), open_=st.integers(1, 5))
    def begin(self, money: int, requests: int, open_: int) -> None:
        service = self.service
        self.tenant = service.do(make_tenant(service.operator, "oracle"))
        subject = BudgetSubject(organisation_id=self.tenant.organisation.organisation_id)
        per_request = Window(request=RequestWindow())
        wanted = {
            "money": (BUDGET_UNIT_MONEY, money, None),
            "tokens": (BUDGET_UNIT_TOKENS, 1500, None),
            "requests": (BUDGET_UNIT_REQUESTS, requests, None),
            "open": (BUDGET_UNIT_CONCURRENCY, open_, None),
            "ceiling": (BUDGET_UNIT_MONEY, 350, per_request),
            "shared": (BUDGET_UNIT_CONCURRENCY, open_ + 1, None),
        }
        self.made: dict[str, Budget] = {}
        self.oracle = Oracle({})
        for name, (unit, limit, window) in wanted.items():
            budget = Budget(subject=subject, unit=unit, limit=limit, window=window, display_name=name)
            if name == "shared":
                budget.model_scope.CopyFrom(ModelScope(provider=SHARED))
            create = admin_pb.CreateBudgetRequest(request_id=request_id(), budget=budget)
            self.made[name] = service.do(service.operator.CreateBudget(create)).budget
            unit_name = {"ceiling": "money", "shared": "open"}.get(name, name)
            self.oracle.budgets[name] = OracleBudget(
                unit_name,
                limit,
                ceiling=name == "ceiling",
                rate_of=f"provider:{SHARED}" if name == "shared" else "",
            )

    def _key(self, number: int, next_: int = 1) -> Any:
        return attempt(self.tenant, f"machine-{number}", next_)

    @rule(
        number=numbers, money=amounts, tokens=st.integers(0, 300), permille=st.sampled_from([0, 0, 300, 700])
    )
    def hold(self, number: int, money: int, tokens: int, permille: int) -> None:
        kept = {f"provider:{SHARED}": permille, "provider:another": 1000}
        request = hold(
            self.tenant,
            money,
            self._key(number),
            input_tokens_bound=INPUT_TOKENS,
            output_tokens_bound=tokens,
            keep_free_permille=kept,
        )
        answer = self.service.ask("Hold", request)
        expected = self.oracle.hold((f"machine-{number}", 1), money, INPUT_TOKENS + tokens, kept)
        assert (answer if isinstance(answer, str) else "granted") == expected

    @rule(number=numbers, extension=st.integers(1, 3), money=st.integers(1, 200))
    def extend(self, number: int, extension: int, money: int) -> None:
        request = pb.ExtendAmountRequest(
            key=self._key(number), extension=extension, amount=Money(nanos=money)
        )
        answer = self.service.ask("ExtendAmount", request)
        expected = self.oracle.extend((f"machine-{number}", 1), extension, money)
        assert (answer if isinstance(answer, str) else "granted") == expected

    @rule(number=numbers, cost=costs, tokens=st.integers(0, 400))
    def commit(self, number: int, cost: int | None, tokens: int) -> None:
        usage = None if cost is None else Usage(input_tokens=tokens, output_tokens=0)
        outcome = pb.SETTLEMENT_OUTCOME_UNKNOWN if cost is None else pb.SETTLEMENT_OUTCOME_SUCCEEDED
        answer = self.service.ask("Commit", commit(self._key(number), cost, usage=usage, outcome=outcome))
        expected = self.oracle.commit((f"machine-{number}", 1), cost, tokens)
        if not isinstance(answer, str):
            answer = (answer.receipt.charged.nanos, answer.receipt.unconfirmed)
        assert answer == expected

    @rule(number=numbers)
    def release(self, number: int) -> None:
        answer = self.service.ask("Release", pb.ReleaseRequest(key=self._key(number), reason="test"))
        expected = self.oracle.release((f"machine-{number}", 1))
        assert (answer if isinstance(answer, str) else "released") == expected

    @rule(
        name=st.sampled_from(["money", "tokens", "requests", "open", "ceiling", "shared"]),
        limit=st.integers(1, 1500),
    )
    def change_limit(self, name: str, limit: int) -> None:
        budget = self.made[name]
        budget.limit = limit
        update = admin_pb.UpdateBudgetRequest(
            request_id=request_id(), budget=budget, update_mask=FieldMask(paths=["limit"])
        )
        self.made[name] = self.service.do(self.service.operator.UpdateBudget(update)).budget
        self.oracle.budgets[name].limit = limit

    @invariant()
    def figures_agree(self) -> None:
        for name in ("money", "tokens", "requests", "open", "shared"):
            if name not in getattr(self, "made", {}):
                return
            request = admin_pb.GetBudgetStatusRequest(budget_id=self.made[name].budget_id)
            status = self.service.do(self.service.operator.GetBudgetStatus(request)).status
            spent, held, overage = self.oracle.figures(name)
            assert (status.spent, status.held, status.overage) == (spent, held, overage), name


@pytest.mark.timeout(300)
def test_the_service_answers_as_the_oracle_does(service: Service) -> None:
    machine = type("BoundMachine", (Machine,), {"service": service})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_service_answers_as_the_oracle_does_for_long(service: Service) -> None:
    machine = type("BoundMachine", (Machine,), {"service": service})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
