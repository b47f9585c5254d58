"""Entities between the contract's messages and ours.

A `Shape` says which fields of a message a caller may give at the making and change later, and how each is read; so the
check of a field is the same both times, and an update mask can name nothing else. All that is wrong is said at once.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.budget.domain.checks import Checks
from services.budget.domain.entities import REFUSE_UNKNOWN_PRICES, EntityState, KeyPermission, Role
from services.budget.domain.kinds import Kind
from services.budget.use_cases.entities import Fields, Update
from services.kernel.errors import InvalidRequest
from services.kernel.ids import Id, OrganisationId, ProjectId, RequestId, TeamId, UserId, UserPseudonym
from services.kernel.pages import page_key, page_rows, page_token

Reader = Callable[[Checks, str, Any], Any]
"""Reads a field's value at a path: what is wrong is noted, what is right is given back in our types."""

AnyId = TypeVar("AnyId", bound=Id)
M = TypeVar("M", bound=Message)

# Years that both Postgres and Python hold, and no price or budget has business beyond.
YEAR_MAX = 2200


@dataclass(frozen=True, slots=True)
class Shape:
    """What a caller may say of a kind of entity."""

    name: str
    """The field of the requests that holds the entity, and the first part of its id's field."""
    given: Mapping[str, Reader]
    """Fields that are given at the making alone."""
    changeable: Mapping[str, Reader]
    """Fields that may be given then and changed later."""
    only_changed: Mapping[str, Reader]
    """Fields that begin with a value of ours and may be changed later."""


# ---- readers of single fields ----------------------------------------------------------------------------------------
def _id(kind: type[Id]) -> Reader:
    return lambda checks, path, value: checks.id(path, kind, value)


def _optional_id(kind: type[Id]) -> Reader:
    return lambda checks, path, value: checks.optional_id(path, kind, value)


def _line(checks: Checks, path: str, value: str) -> str:
    return checks.line(path, value)


def _as_is(checks: Checks, path: str, value: object) -> object:
    return value


def _data_class(checks: Checks, path: str, value: str) -> str:
    return checks.data_class(path, value)


def _time_zone(checks: Checks, path: str, value: str) -> str:
    return checks.time_zone(path, value)


def _ppm(checks: Checks, path: str, value: int) -> int:
    return checks.ppm(path, value)


def _unknown_price_policy(checks: Checks, path: str, value: str) -> str:
    policy = value or REFUSE_UNKNOWN_PRICES
    return policy if policy == REFUSE_UNKNOWN_PRICES else checks.model(path, policy)


def _state(checks: Checks, path: str, value: int) -> EntityState:
    if value not in (EntityState.ACTIVE, EntityState.SUSPENDED):
        checks.wrong(path, "must be ACTIVE or SUSPENDED; archive or revoke by the RPC of that name")
        return EntityState.ACTIVE
    return EntityState(value)


def _permissions(checks: Checks, path: str, values: Iterable[int]) -> tuple[KeyPermission, ...]:
    known = [value for value in values if value in list(KeyPermission)]
    checks.require(len(known) == len(list(values)), path, "has an unknown permission")
    return tuple(sorted({KeyPermission(value) for value in known})) or (KeyPermission.GENERATE,)


def _model_patterns(checks: Checks, path: str, values: Iterable[str]) -> tuple[str, ...]:
    return checks.model_patterns(path, values)


def _expiry(checks: Checks, path: str, value: Timestamp | None) -> datetime | None:
    return from_pb_timestamp(checks, path, value)


def _role(checks: Checks, path: str, value: int) -> Role:
    if value not in list(Role):
        checks.wrong(path, "is required")
        return Role.VIEWER
    return Role(value)


ORGANISATION_SHAPE = Shape(
    "organisation",
    given={},
    changeable={
        "display_name": _line,
        "time_zone": _time_zone,
        "discount_ppm": _ppm,
        "data_class": _data_class,
        "unknown_price_policy": _unknown_price_policy,
    },
    only_changed={"state": _state},
)
TEAM_SHAPE = Shape(
    "team",
    given={"organisation_id": _id(OrganisationId)},
    changeable={"display_name": _line},
    only_changed={"state": _state},
)
PROJECT_SHAPE = Shape(
    "project",
    given={"team_id": _id(TeamId)},
    changeable={"display_name": _line, "data_class": _data_class, "capture_content": _as_is},
    only_changed={"state": _state},
)
USER_SHAPE = Shape(
    "user",
    given={"organisation_id": _id(OrganisationId), "external_id": _id(UserPseudonym)},
    changeable={},
    only_changed={"state": _state},
)
KEY_SHAPE = Shape(
    "key",
    given={"project_id": _id(ProjectId), "user_id": _optional_id(UserId)},
    changeable={
        "display_name": _line,
        "permissions": _permissions,
        "expires_at": _expiry,
        "model_patterns": _model_patterns,
    },
    only_changed={"state": _state},
)
ADMIN_TOKEN_SHAPE = Shape(
    "admin_token",
    given={
        "display_name": _line,
        "role": _role,
        "organisation_id": _optional_id(OrganisationId),
        "team_id": _optional_id(TeamId),
        "expires_at": _expiry,
    },
    changeable={},
    only_changed={},
)


# ---- requests --------------------------------------------------------------------------------------------------------
def from_pb_new(request: Any, shape: Shape) -> Fields:
    """The fields of an entity that is to be made."""
    checks = Checks()
    check_request_id(checks, request)
    message = getattr(request, shape.name)
    read = _read(checks, shape.name, message, {**shape.given, **shape.changeable})
    if shape is ADMIN_TOKEN_SHAPE:
        _check_role_scope(checks, read)
    checks.done()
    return read


def from_pb_update(request: Any, shape: Shape) -> Update:
    """Which entity to change, and the checked values of the fields that the mask names."""
    checks = Checks()
    check_request_id(checks, request)
    message = getattr(request, shape.name)
    readers = from_pb_mask(checks, request.update_mask, {**shape.changeable, **shape.only_changed})
    id_field = f"{shape.name}_id"
    entity_id = getattr(message, id_field)
    checks.require(bool(entity_id), f"{shape.name}.{id_field}", "is required")
    changes = _read(checks, shape.name, message, readers)
    checks.done()
    return Update(entity_id, from_pb_etag(message.etag), changes)


def from_pb_archive(request: Any, kind: Kind[Any]) -> tuple[str, int | None]:
    """Which entity to archive, and the version it must have."""
    checks = Checks()
    entity_id = check_named(checks, request, kind)
    checks.done()
    return entity_id, from_pb_etag(request.etag)


def check_named(checks: Checks, request: Any, kind: Kind[Any]) -> str:
    """The id of the entity that a change is about, beside its request id."""
    check_request_id(checks, request)
    entity_id: str = getattr(request, kind.id_field)
    checks.require(bool(entity_id), kind.id_field, "is required")
    return entity_id


def from_pb_mask(checks: Checks, mask: FieldMask, readers: Mapping[str, Reader]) -> dict[str, Reader]:
    """The readers of the fields that an update mask names."""
    allowed = ", ".join(sorted(readers))
    checks.require(bool(mask.paths), "update_mask", f"is required; it may name {allowed}")
    for path in mask.paths:
        checks.require(path in readers, "update_mask", f"{path!r} cannot be changed; it may name {allowed}")
    return {path: readers[path] for path in mask.paths if path in readers}


def from_pb_etag(etag: str) -> int | None:
    """The version an etag stands for; None if none was given. What is no etag of ours is no version's."""
    if not etag:
        return None
    return int(etag) if etag.isascii() and etag.isdigit() and len(etag) < 19 else 0


def check_request_id(checks: Checks, request: Any) -> None:
    """Notes a request id that is missing or malformed, and text that no store can hold."""
    checks.id("request_id", RequestId, request.request_id)
    check_text(checks, request)


def check_text(checks: Checks, message: Message, path: str = "") -> None:
    """Notes text with a NUL character, wherever it is: no store can hold it."""
    for field, value in message.ListFields():
        for index, item in enumerate(value if field.is_repeated else [value]):
            here = f"{path}{field.name}" + (f"[{index}]" if field.is_repeated else "")
            if isinstance(item, Message):
                check_text(checks, item, f"{here}.")
            elif isinstance(item, str) and "\x00" in item:
                checks.wrong(here, "must not have a NUL character")


def _check_role_scope(checks: Checks, read: Fields) -> None:
    role, organisation, team = read["role"], read["organisation_id"], read["team_id"]
    if role is Role.OPERATOR:
        checks.require(organisation is None, "admin_token.organisation_id", "must be empty for an operator")
        checks.require(team is None, "admin_token.team_id", "must be empty for an operator")
        return
    checks.require(organisation is not None, "admin_token.organisation_id", "is required for this role")
    if role is Role.ORGANISATION_ADMIN:
        checks.require(team is None, "admin_token.team_id", "must be empty for an organisation admin")
    if role is Role.TEAM_ADMIN:
        checks.require(team is not None, "admin_token.team_id", "is required for a team admin")


def _read(checks: Checks, path: str, message: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    return {name: reader(checks, f"{path}.{name}", _value(message, name)) for name, reader in readers.items()}


def _value(message: Any, name: str) -> Any:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return None
    value = getattr(message, name)
    return list(value) if field.is_repeated else value


def content_hash(request: Message) -> bytes:
    """SHA-256 of a request's content: two requests with the same id must have the same."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


# ---- pages -----------------------------------------------------------------------------------------------------------
def from_pb_page(checks: Checks, request: Any) -> tuple[str, int]:
    """After which id a page begins, and how many it has at most."""
    check_text(checks, request)
    try:
        key = page_key(request.page_token, 1) or ("",)
        if not (key[0].isascii() and key[0].isprintable()):
            raise InvalidRequest.of("page_token", "is not the next_page_token of this list")
        return key[0], page_rows(request.page_size)
    except InvalidRequest as wrong:
        checks.found.extend(wrong.violations)
        return "", 1


def to_pb_page_token(last_id: str, *, more: bool) -> str:
    """The token of the page after `last_id`; empty if there is none."""
    return page_token([last_id]) if more else ""


# ---- times -----------------------------------------------------------------------------------------------------------
def from_pb_timestamp(checks: Checks, path: str, value: Timestamp | None) -> datetime | None:
    """A time in UTC; None if it is absent."""
    if value is None:
        return None
    try:
        moment = value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        checks.wrong(path, "is not a time")
        return None
    checks.require(1970 <= moment.year <= YEAR_MAX, path, f"must lie between 1970 and {YEAR_MAX}")
    return moment


def to_pb_timestamp(moment: datetime) -> Timestamp:
    """A time on the wire."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


# ---- entities --------------------------------------------------------------------------------------------------------
def to_pb_entity(entity: Any, message_type: type[M]) -> M:
    """An entity as its message: fields of one name are the same thing; `version` is the etag; hashes stay here."""
    message = message_type()
    known = message.DESCRIPTOR.fields_by_name
    for field in fields(entity):
        value = getattr(entity, field.name)
        name = "etag" if field.name == "version" else field.name
        if name not in known or value is None:
            continue
        if isinstance(value, datetime):
            getattr(message, name).CopyFrom(to_pb_timestamp(value))
        elif isinstance(value, tuple):
            getattr(message, name).extend(value)
        elif name == "etag":
            setattr(message, name, str(value))
        else:
            setattr(message, name, value.value if isinstance(value, Enum) else value)
    return message
