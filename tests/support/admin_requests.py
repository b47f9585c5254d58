"""A meaningful request for every RPC of BudgetAdminService, filled by its descriptor with one tenant's entities."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.support.budget_admin import Api, Tenant, make_token, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.entities_pb2 import ROLE_VIEWER
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_MONEY

SERVICE = pb.DESCRIPTOR.services_by_name["BudgetAdminService"]

# What ends something comes after what needs it.
LAST = ("Deny", "Approve", "Rotate", "Revoke", "Delete", "Archive")


def methods() -> list[MethodDescriptor]:
    """Every RPC; those that end something last, a tenant's root at the very last."""

    def order(method: MethodDescriptor) -> tuple[int, int]:
        ends = next((n for n, start in enumerate(LAST, 1) if method.name.startswith(start)), 0)
        return ends, ("User", "Budget", "Project", "Team", "Organisation").index(
            method.name.removeprefix("Archive")
        ) if ends == len(LAST) else 0

    return sorted(SERVICE.methods, key=order)


async def more_of(api: Api, tenant: Tenant) -> Mapping[str, str]:
    """Ids of what a tenant has beside its entities: an override, a wish, a token, a webhook."""
    budget = tenant.budgets[2]
    override = pb.BudgetOverride(budget_id=budget.budget_id, limit=1, reason="test")
    override.ends_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    made = await api.CreateBudgetOverride(
        pb.CreateBudgetOverrideRequest(request_id=request_id(), override=override)
    )
    wishes = [
        await api.RequestLimitRaise(
            pb.RequestLimitRaiseRequest(
                request_id=request_id(),
                limit_raise=pb.LimitRaise(budget_id=budget.budget_id, limit=2_000_000_000, reason="test"),
            )
        )
        for _ in range(2)
    ]
    webhook = await api.CreateWebhook(
        pb.CreateWebhookRequest(
            request_id=request_id(),
            webhook=pb.Webhook(
                organisation_id=tenant.organisation.organisation_id, url="https://alerts.example.com/hook"
            ),
        )
    )
    await make_token(api, ROLE_VIEWER, organisation_id=tenant.organisation.organisation_id)
    tokens = await api.ListAdminTokens(
        pb.ListAdminTokensRequest(organisation_id=tenant.organisation.organisation_id)
    )
    return {
        "webhook_id": webhook.webhook.webhook_id,
        "override_id": made.override.override_id,
        "limit_raise_id": wishes[0].limit_raise.limit_raise_id,
        "limit_raise_id_to_deny": wishes[1].limit_raise.limit_raise_id,
        "admin_token_id": tokens.admin_tokens[-1].admin_token_id,
    }


def request_for(method: MethodDescriptor, tenant: Tenant, more: Mapping[str, str]) -> Any:
    """A request of `method` about the tenant's own things: what hangs below its team, where there is a choice."""
    ids = {
        "organisation_id": tenant.organisation.organisation_id,
        "team_id": tenant.team.team_id,
        "project_id": tenant.project.project_id,
        "user_id": tenant.user.user_id,
        "key_id": tenant.key.key_id,
        "budget_id": tenant.budgets[2].budget_id,
        "from_budget_id": tenant.budgets[2].budget_id,
        "to_budget_id": tenant.budgets[3].budget_id,
        **more,
    }
    request = GetMessageClass(method.input_type)()
    _fill(request, method.name, ids)
    return request


def _fill(message: Message, method: str, ids: Mapping[str, str]) -> None:
    for field in message.DESCRIPTOR.fields:
        value = _value(field, method, ids)
        if value is None:
            continue
        if isinstance(value, Message):
            getattr(message, field.name).CopyFrom(value)
        elif field.is_repeated:
            getattr(message, field.name).extend(value)
        else:
            setattr(message, field.name, value)


def _value(field: Any, method: str, ids: Mapping[str, str]) -> Any:
    name = field.name
    creates = method.startswith(("Create", "Set", "Import"))
    if name == "subject":
        subject: Any = GetMessageClass(field.message_type)()
        subject.project_id = ids["project_id"]
        return subject
    if name in {"user_id"} and method == "CreateKey":
        return None
    if name == "organisation_id" and method == "SetPrice":
        return None
    if name == "limit_raise_id" and method.startswith("Deny"):
        return ids["limit_raise_id_to_deny"]
    if name.endswith("_id") and name in ids:
        return ids[name]
    match name:
        case "request_id":
            return request_id()
        case "display_name" | "reason" | "answer":
            return "changed"
        case "external_id":
            return f"user-{request_id()}"
        case "role":
            return ROLE_VIEWER
        case "unit":
            return BUDGET_UNIT_MONEY
        case "limit" | "amount":
            return 1
        case "provider":
            return "openai"
        case "csv":
            return b"day,model,cost_usd\n2026-01-01,openai/gpt-4o,1.5\n"
        case "url":
            return "https://alerts.example.com/hook"
        case "budget_ids":
            return [ids["budget_id"]]
        case "update_mask":
            mask: Any = GetMessageClass(field.message_type)()
            mask.paths.append("state" if method == "UpdateUser" else "display_name")
            return mask
        case "state" if method == "UpdateUser":
            return 1
        case "ends_at" if method in {"CreateBudgetOverride", "RequestLimitRaise"}:
            return _time(field, timedelta(hours=1))
        case "occurred_from" if method == "RerateUsage":
            return _time(field, timedelta(hours=-1))
        case "occurred_until" if method == "RerateUsage":
            return _time(field, timedelta(0))
        case "price" | "prices":
            return _price(field)
    nested = field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated
    if nested and (creates or name in method.lower() or name == "limit_raise") and name in _ENTITIES:
        message = GetMessageClass(field.message_type)()
        _fill(message, method, ids)
        return message
    return None


_ENTITIES = frozenset(
    {
        "organisation",
        "team",
        "project",
        "user",
        "key",
        "admin_token",
        "budget",
        "override",
        "limit_raise",
        "webhook",
    }
)


def _time(field: Any, distance: timedelta) -> Message:
    stamp: Any = GetMessageClass(field.message_type)()
    stamp.FromDatetime(datetime.now(UTC) + distance)
    return stamp  # type: ignore[no-any-return]


def _price(field: Any) -> Any:
    price: Any = GetMessageClass(field.message_type)()
    price.model = "openai/gpt-4o"
    price.tiers.add(input_nanos_per_million=2_500_000_000, output_nanos_per_million=10_000_000_000)
    return [price] if field.is_repeated else price
