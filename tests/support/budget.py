"""The whole budget service in this process, a tenant in it, and holds in few words."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf.any_pb2 import Any as AnyMessage

from services.budget.bootstrap import app
from services.budget.settings import BudgetSettings
from services.chassis.app import serving
from services.chassis.batch_client import BatchClient
from services.chassis.channel import Remote, connect
from services.chassis.settings import Address, Secret
from services.chassis.status import RemoteError
from services.kernel.errors import Category
from services.local import ports
from tests.support.budget_admin import OPERATOR, SERVICE, WEBHOOK_KEY, Api, Tenant
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub
from turnpike.common.v1.error_pb2 import ErrorReason
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.principal_pb2 import AttemptKey, Principal
from turnpike.common.v1.usage_pb2 import USAGE_SOURCE_VENDOR, Usage

OTHER_SERVICE = "tps_" + "providers" * 5
MODEL = "openai/gpt-5.4-mini"

_numbers = itertools.count(1)


def new_request_id() -> str:
    """A request id nobody used before in this process."""
    return f"req-{next(_numbers):08d}"


@dataclass(frozen=True)
class Budgets:
    """A replica that serves, and ways to call it."""

    address: str
    stack: contextlib.AsyncExitStack = field(repr=False)

    async def connected(self, secret: str | None) -> Remote:
        return await self.stack.enter_async_context(connect("budget", self.address, token=secret))

    async def operator(self) -> Api:
        return await self.admin_as(OPERATOR)

    async def admin_as(self, secret: str | None) -> Api:
        remote = await self.connected(secret)
        return Api(remote, BudgetAdminServiceStub(remote.channel))

    async def router(self) -> Api:
        return await self.as_(SERVICE)

    async def stream(self, secret: str = SERVICE) -> "StreamApi":
        """BudgetService over a batch stream."""
        remote = await self.connected(secret)
        stub = BudgetServiceStub(remote.channel)
        client: BatchClient[pb.ApplyOperation, pb.ApplyResult] = BatchClient(
            remote,
            stub.Apply,
            pack=lambda operations: pb.ApplyRequest(operations=operations),
            unpack=lambda response: response.results,
        )
        return StreamApi(await self.stack.enter_async_context(client), Api(remote, stub))

    async def as_(self, secret: str) -> Api:
        remote = await self.connected(secret)
        return Api(remote, BudgetServiceStub(remote.channel))


@asynccontextmanager
async def serving_budget(dsn: str, **settings: Any) -> AsyncIterator[Budgets]:
    """A replica over a database."""
    settings.setdefault("bootstrap_admin_token", Secret(OPERATOR))
    settings.setdefault("webhook_key", WEBHOOK_KEY)
    made = BudgetSettings(
        listen=Address("127.0.0.1", ports.any_free()),
        postgres_dsn=Secret(dsn),
        service_tokens={"router": Secret(SERVICE), "providers": Secret(OTHER_SERVICE)},
        state_dir=Path("/nonexistent"),
        drain_s=0.2,
        access_log="off",
        **settings,
    )
    async with serving(app, made) as running, contextlib.AsyncExitStack() as stack:
        yield Budgets(str(running.address), stack)


class StreamApi:
    """BudgetService's operations over one batch stream, by the names and errors of its unary RPCs."""

    _OPERATIONS: ClassVar = {
        "Hold": "hold",
        "Commit": "commit",
        "Release": "release",
        "CommitAndHold": "commit_and_hold",
        "ExtendAmount": "extend_amount",
        "RenewLease": "renew_lease",
    }

    def __init__(self, client: BatchClient[pb.ApplyOperation, pb.ApplyResult], unary: Api) -> None:
        self._client = client
        self._unary = unary
        self.watch = unary.watch

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        if name not in self._OPERATIONS:
            call: Callable[[Any], Awaitable[Any]] = getattr(self._unary, name)
            return call
        return lambda request: self._call(self._OPERATIONS[name], request)

    async def _call(self, field_name: str, request: Any) -> Any:
        operation = pb.ApplyOperation()
        getattr(operation, field_name).CopyFrom(request)
        result = await self._client.call(operation, timeout_s=20.0)
        if result.WhichOneof("result") != "refusal":
            return getattr(result, field_name)
        refusal = result.refusal
        details = []
        if refusal.HasField("budget_failure"):
            packed = AnyMessage()
            packed.Pack(refusal.budget_failure)
            details.append(packed)
        raise RemoteError(
            Category.UNKNOWN,
            ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_"),
            "budget",
            refusal.message,
            dict(refusal.metadata),
            tuple(details),
            retry_s=refusal.retry_after.ToMicroseconds() / 1e6 if refusal.HasField("retry_after") else None,
        )


def principal_of(tenant: Tenant) -> Principal:
    """Who calls with the tenant's key."""
    return Principal(
        organisation_id=tenant.organisation.organisation_id,
        team_id=tenant.team.team_id,
        project_id=tenant.project.project_id,
        key_id=tenant.key.key_id,
    )


def attempt(tenant: Tenant, request_id: str | None = None, number: int = 1) -> AttemptKey:
    """The key of an attempt."""
    return AttemptKey(
        organisation_id=tenant.organisation.organisation_id,
        request_id=request_id or new_request_id(),
        attempt=number,
    )


def terms(tenant: Tenant, nanos: int | None = None, **more: Any) -> pb.HoldTerms:
    """What to hold."""
    more.setdefault("model", MODEL)
    more.setdefault("input_tokens_bound", 100)
    more.setdefault("output_tokens_bound", 200)
    amount = None if nanos is None else Money(nanos=nanos)
    return pb.HoldTerms(principal=principal_of(tenant), amount=amount, **more)


def hold(tenant: Tenant, nanos: int | None, key: AttemptKey | None = None, **more: Any) -> pb.HoldRequest:
    """A request for a hold."""
    return pb.HoldRequest(key=key or attempt(tenant), terms=terms(tenant, nanos, **more))


def commit(key: AttemptKey, nanos: int | None, **more: Any) -> pb.CommitRequest:
    """A settlement."""
    lease = more.pop("lease", "")
    usage = more.pop("usage", Usage(input_tokens=80, output_tokens=90, source=USAGE_SOURCE_VENDOR))
    cost = None if nanos is None else Money(nanos=nanos)
    settlement = pb.Settlement(cost=cost, usage=usage, **more)
    return pb.CommitRequest(key=key, settlement=settlement, lease=lease)
