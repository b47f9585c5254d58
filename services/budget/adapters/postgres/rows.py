"""Entities as rows and as JSON. A column has its field's name; a field that is a dataclass is a jsonb column."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar

import msgspec

from services.kernel.ids import Id

E = TypeVar("E")

# Hashes and secrets prove nothing to a reader of the trail, and are nothing for him to have.
UNTRAILED = frozenset({"secret_hash", "previous_secret_hash", "sealed_secret"})


def to_json(value: object) -> str:
    """A dataclass, or anything made of such, as JSON."""
    return msgspec.json.encode(value, enc_hook=_encode).decode()


def from_json(document: str, kind: type[E]) -> E:
    """What `to_json` made of a value of this kind."""
    return msgspec.json.decode(document, type=kind, dec_hook=_decode)


def to_trail(entity: object) -> str | None:
    """An entity as the audit trail keeps it. None: there was none."""
    if entity is None:
        return None
    document = msgspec.to_builtins(entity, enc_hook=_encode)
    return to_json({name: value for name, value in document.items() if name not in UNTRAILED})


def to_row(entity: Any) -> list[Any]:
    """The fields of an entity in order, as statement parameters."""
    return [_parameter(getattr(entity, field.name)) for field in fields(entity)]


def from_row(row: Mapping[str, Any], kind: type[E]) -> E:
    """A row that has a column for each field, as the entity."""
    document = {
        field.name: msgspec.json.decode(row[field.name]) if is_dataclass(field.type) else row[field.name]
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return msgspec.convert(document, kind, dec_hook=_decode)


def _parameter(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Id):
        return str(value)
    if isinstance(value, tuple):
        return [_parameter(item) for item in value]
    if is_dataclass(value):
        return to_json(value)
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _decode(kind: type[Any], value: Any) -> Any:
    return kind(value)
