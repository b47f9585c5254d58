"""Admins' changes through the whole service, over a real Postgres, with tokens of the real budget service."""

import base64
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.chassis.channel import connect
from services.chassis.settings import Secret
from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from tests.support.budget import OTHER_SERVICE, Budgets, serving_budget
from tests.support.budget_admin import OPERATOR, Api, request_id
from tests.support.conditions import until
from tests.support.providers import Providers, attempt, chat_answer, providers
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from turnpike.budget.v1 import budget_admin_pb2 as budget_pb
from turnpike.budget.v1.entities_pb2 import AdminToken, Organisation, Role
from turnpike.common.v1 import price_pb2
from turnpike.providers.v1 import catalogue_pb2, providers_pb2
from turnpike.providers.v1 import providers_admin_pb2 as pb
from turnpike.providers.v1.providers_admin_pb2_grpc import ProviderAdminServiceStub

KEY = base64.b64encode(os.urandom(32)).decode()
SECRET = "sk-very-secret-of-ours"
MODEL = "openai/gpt-5.4-mini"
PLACE = "at-the-test"
"""Named in attempts, for with a key of OpenAI's its own endpoint joins by itself."""


@dataclass
class Stack:
    """Everything of one test."""

    dsn: str
    running: Providers
    admin: Api
    budgets: Budgets
    vendor: RawVendor

    async def as_(self, secret: str) -> Api:
        remote = await self.budgets.stack.enter_async_context(
            connect("providers", str(self.running.running.address), token=secret)
        )
        return Api(remote, ProviderAdminServiceStub(remote.channel))


async def speak(request: Request, connection: Connection) -> None:
    await connection.answer(chat_answer())


@pytest.fixture
async def stack(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with (
        serving_budget(postgres_dsn) as budgets,
        raw_vendor(speak) as vendor,
        providers(
            tmp_path,
            [],
            postgres_dsn=Secret(postgres_dsn),
            encryption_key=Secret(KEY),
            budget_address=budgets.address,
            service_token=Secret(OTHER_SERVICE),
            private_endpoints=True,
        ) as running,
        connect("providers", str(running.running.address), token=OPERATOR) as remote,
    ):
        admin = Api(remote, ProviderAdminServiceStub(remote.channel))
        yield Stack(postgres_dsn, running, admin, budgets, vendor)


async def organisation_admin(stack: Stack, name: str) -> tuple[str, str]:
    """An organisation's id, and the token of its admin."""
    operator = await stack.budgets.operator()
    made = await operator.CreateOrganisation(
        budget_pb.CreateOrganisationRequest(
            request_id=request_id(), organisation=Organisation(display_name=name)
        )
    )
    organisation_id = made.organisation.organisation_id
    token = await operator.CreateAdminToken(
        budget_pb.CreateAdminTokenRequest(
            request_id=request_id(),
            admin_token=AdminToken(
                display_name="admin", role=Role.ROLE_ORGANISATION_ADMIN, organisation_id=organisation_id
            ),
        )
    )
    return organisation_id, token.secret


def credential(**more: Any) -> pb.CreateCredentialRequest:
    return pb.CreateCredentialRequest(
        request_id=request_id(), credential=pb.Credential(provider="openai", **more), secret=SECRET
    )


def endpoint(stack: Stack, **more: Any) -> pb.CreateEndpointRequest:
    config = pb.EndpointConfig(model=MODEL, base_url=f"{stack.vendor.base_url}/v1", **more)
    config.endpoint.wire_format = "openai_chat"
    config.endpoint.endpoint_id = PLACE
    return pb.CreateEndpointRequest(request_id=request_id(), endpoint=config)


async def generate(stack: Stack, organisation_id: str = "") -> str:
    asked = attempt(model=MODEL, endpoint_id=PLACE)
    asked.principal.organisation_id = organisation_id
    response = await stack.running.remote.unary(
        stack.running.stub.Generate, providers_pb2.GenerateRequest(attempt=asked), timeout_s=10
    )
    return response.finished.choices[0].message.parts[0].text.text


async def test_a_stored_credential_is_used_and_never_shown(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    await stack.admin.CreateEndpoint(endpoint(stack))
    with pytest.raises(TurnpikeError) as none_yet:
        await generate(stack)
    assert none_yet.value.reason == "CREDENTIAL_MISSING"
    asked = credential(display_name="main")
    made = await stack.admin.CreateCredential(asked)
    assert SECRET not in str(made)
    assert (await stack.admin.CreateCredential(asked)) == made, "the same again gives the same answer"
    assert await generate(stack) == "hello you"
    assert stack.vendor.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    listed = await stack.admin.ListCredentials(pb.ListCredentialsRequest(provider="openai"))
    assert [shown.display_name for shown in listed.credentials] == ["main"]
    assert SECRET not in str(listed)
    connection = await asyncpg.connect(stack.dsn)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'providers'")
    for table in tables:
        rows = await connection.fetch(f'SELECT t::text AS row FROM providers."{table["tablename"]}" t')
        assert all(SECRET not in row["row"] and SECRET.encode().hex() not in row["row"] for row in rows)
    await connection.close()
    await stack.admin.DeleteCredential(
        pb.DeleteCredentialRequest(request_id=request_id(), credential_id=made.credential.credential_id)
    )
    with pytest.raises(TurnpikeError) as gone:
        await generate(stack)
    assert gone.value.reason == "CREDENTIAL_MISSING"
    out, err = capfd.readouterr()
    assert SECRET not in out + err


async def test_an_organisations_credential_is_for_it_alone(stack: Stack) -> None:
    await stack.admin.CreateEndpoint(endpoint(stack))
    mine, token = await organisation_admin(stack, "acme")
    other, other_token = await organisation_admin(stack, "globex")
    admin, stranger = await stack.as_(token), await stack.as_(other_token)
    made = await admin.CreateCredential(credential(organisation_id=mine))
    assert await generate(stack, mine) == "hello you"
    with pytest.raises(TurnpikeError) as missing:
        await generate(stack, other)
    assert missing.value.reason == "CREDENTIAL_MISSING"
    assert not (await stranger.ListCredentials(pb.ListCredentialsRequest())).credentials
    for forbidden in (
        stranger.DeleteCredential(
            pb.DeleteCredentialRequest(request_id=request_id(), credential_id=made.credential.credential_id)
        ),
        stranger.CreateCredential(credential(organisation_id=mine)),
        admin.CreateCredential(credential()),
        admin.CreateEndpoint(endpoint(stack)),
        admin.ListEndpoints(pb.ListEndpointsRequest()),
    ):
        with pytest.raises(RemoteError) as refused:
            await forbidden
        assert refused.value.reason in ("NOT_FOUND", "PERMISSION_DENIED")


async def test_endpoints_are_made_changed_and_removed(stack: Stack) -> None:
    await stack.admin.CreateCredential(credential())
    made = (await stack.admin.CreateEndpoint(endpoint(stack, concurrency_max=7))).endpoint
    name = made.endpoint.endpoint_id
    got = await stack.running.remote.unary(
        stack.running.stub.GetModel, providers_pb2.GetModelRequest(model=MODEL), timeout_s=5
    )
    assert name in [point.endpoint_id for point in got.model.endpoints]
    changed = pb.EndpointConfig(
        endpoint=catalogue_pb2.Endpoint(endpoint_id=name), disabled=True, etag=made.etag
    )
    update = pb.UpdateEndpointRequest(
        request_id=request_id(), endpoint=changed, update_mask=FieldMask(paths=["disabled"])
    )
    answer = (await stack.admin.UpdateEndpoint(update)).endpoint
    assert answer.disabled
    assert answer.concurrency_max == 7
    update.request_id = request_id()
    with pytest.raises(RemoteError) as stale:
        await stack.admin.UpdateEndpoint(update)
    assert stale.value.reason == "ETAG_MISMATCH"
    await stack.admin.DeleteEndpoint(pb.DeleteEndpointRequest(request_id=request_id(), endpoint_id=name))
    listed = await stack.admin.ListEndpoints(pb.ListEndpointsRequest(model=MODEL))
    assert name not in [config.endpoint.endpoint_id for config in listed.endpoints]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "http://169.254.169.254.nip.io/latest"),
        ("base_url", "http://8.8.8.8/v1"),
        ("base_url", "file:///etc/passwd"),
        ("base_url", "https://user:password@api.example.com/v1"),
        ("base_url", "https://api.example.com/v1?key=1"),
        ("model", "no slash"),
        ("concurrency_max", -1),
    ],
)
async def test_wrong_endpoints_are_refused(stack: Stack, field: str, value: Any) -> None:
    request = endpoint(stack)
    setattr(request.endpoint, field, value)
    with pytest.raises(RemoteError) as refused:
        await stack.admin.CreateEndpoint(request)
    assert refused.value.reason == "INVALID_REQUEST"
    assert refused.value.violations


async def test_facts_are_overridden_for_one_organisation_and_taken_back(stack: Stack) -> None:
    mine, _ = await organisation_admin(stack, "acme")
    tier = price_pb2.PriceTier(input_nanos_per_million=1_000, output_nanos_per_million=2_000)
    facts = catalogue_pb2.Model(model=MODEL, list_prices=[price_pb2.ModelPrice(model=MODEL, tiers=[tier])])
    await stack.admin.SetModelOverride(
        pb.SetModelOverrideRequest(
            request_id=request_id(),
            model=facts,
            update_mask=FieldMask(paths=["list_prices"]),
            organisation_id=mine,
        )
    )

    async def output_rate(organisation_id: str) -> int:
        request = providers_pb2.GetModelRequest(model=MODEL, organisation_id=organisation_id)
        got = await stack.running.remote.unary(stack.running.stub.GetModel, request, timeout_s=5)
        return int(got.model.list_prices[-1].tiers[0].output_nanos_per_million)

    assert await output_rate(mine) == 2_000
    assert await output_rate("") > 2_000
    await stack.admin.DeleteModelOverride(
        pb.DeleteModelOverrideRequest(request_id=request_id(), model=MODEL, organisation_id=mine)
    )
    assert await output_rate(mine) == await output_rate("")


async def test_a_price_file_is_tried_and_then_taken(stack: Stack) -> None:
    content = b"""{"sample_spec": {}, "gpt-5.4-mini": {"litellm_provider": "openai", "mode": "chat",
        "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}"""
    dry = await stack.admin.ImportPriceFile(
        pb.ImportPriceFileRequest(request_id=request_id(), content=content, dry_run=True)
    )
    assert list(dry.changed) == [MODEL]
    await stack.admin.ImportPriceFile(pb.ImportPriceFileRequest(request_id=request_id(), content=content))
    again = await stack.admin.ImportPriceFile(
        pb.ImportPriceFileRequest(request_id=request_id(), content=content)
    )
    assert not again.changed
    with pytest.raises(RemoteError) as wrong:
        await stack.admin.ImportPriceFile(pb.ImportPriceFileRequest(request_id=request_id(), content=b"[]"))
    assert wrong.value.reason == "INVALID_REQUEST"


async def test_another_replica_follows(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    async with providers(
        folder,
        [],
        postgres_dsn=Secret(stack.dsn),
        encryption_key=Secret(KEY),
        budget_address=stack.budgets.address,
        service_token=Secret(OTHER_SERVICE),
        private_endpoints=True,
    ) as other:
        await stack.admin.CreateCredential(credential())
        await stack.admin.CreateEndpoint(endpoint(stack))

        async def answered() -> str | None:
            request = providers_pb2.GenerateRequest(attempt=attempt(model=MODEL, endpoint_id=PLACE))
            try:
                response = await other.remote.unary(other.stub.Generate, request, timeout_s=5)
            except TurnpikeError:
                return None
            return response.finished.choices[0].message.parts[0].text.text

        assert await until(answered) == "hello you"


async def test_only_admins_may(stack: Stack) -> None:
    nobody = await stack.as_("tps_test-router")
    with pytest.raises(RemoteError) as refused:
        await nobody.ListCredentials(pb.ListCredentialsRequest())
    assert refused.value.reason == "CREDENTIALS_INVALID"
