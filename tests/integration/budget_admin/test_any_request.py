"""No request, however strange, is answered with a fault of ours."""

import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.kernel.errors import Category, TurnpikeError
from tests.support.admin_requests import methods, more_of, request_for
from tests.support.budget_admin import Admin, make_tenant

REQUESTS_EACH = 12
CHANGES_MAX = 3

TEXTS = (
    "", " ", "\x00", "a\x00b", "\n", "x" * 5000, "%", "_", "'; DROP TABLE keys; --", "ключ", "🗝", "\u202e", "\ud7ff",
    "openai/*", "*/*/*", "../..", "2026-13-45", "NaN", "-1", "org_" + "0" * 26, "key_" + "z" * 26, "{}", "null",
)  # fmt: skip
NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    31,
    99,
    1000,
    1001,
    10**6,
    10**6 + 1,
    2**31 - 1,
    -(2**31),
    2**62,
    2**63 - 1,
    -(2**63),
)
INT32 = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM}


def change(message: Any, chance: random.Random) -> None:
    """Puts something else into one field, somewhere within."""
    field = chance.choice(list(message.DESCRIPTOR.fields))
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if field.is_repeated:
            values = getattr(message, field.name)
            nested = values.add() if not values or chance.random() < 0.3 else chance.choice(list(values))
        elif message.HasField(field.name) and chance.random() < 0.2:
            message.ClearField(field.name)
            return
        else:
            nested = getattr(message, field.name)
            nested.SetInParent()
        if isinstance(nested, Message) and nested.DESCRIPTOR.fields:
            change(nested, chance)
        return
    value = strange(field, chance)
    if field.is_repeated:
        values = getattr(message, field.name)
        values.extend([value] * chance.choice((1, 1, 2, 200)))
    else:
        setattr(message, field.name, value)


def strange(field: Any, chance: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = chance.choice(TEXTS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case kind:
            number = chance.choice(NUMBERS)
            return max(-(2**31), min(2**31 - 1, number)) if kind in INT32 else number


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(2))
async def test_no_request_is_answered_with_a_fault_of_ours(admin: Admin, seed: int) -> None:
    await ask_strangely(admin, seed)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(2, 22))
async def test_no_request_of_very_many_is_either(admin: Admin, seed: int) -> None:
    await ask_strangely(admin, seed)


async def ask_strangely(admin: Admin, seed: int) -> None:
    chance = random.Random(seed)
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    more = await more_of(api, tenant)
    for method in methods():
        for _ in range(REQUESTS_EACH):
            request = request_for(method, tenant, more)
            for _ in range(chance.randint(1, CHANGES_MAX)):
                change(request, chance)
            try:
                if method.server_streaming:
                    async with api.watch(method.name, request) as answers:
                        await anext(answers)
                else:
                    await getattr(api, method.name)(request)
            except TurnpikeError as refused:
                assert refused.category not in (Category.INTERNAL, Category.UNKNOWN), (method.name, request)
                assert refused.reason != "INTERNAL", (method.name, request)
