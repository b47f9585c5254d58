"""Values as canonical bytes and back: the same value gives the same bytes in every process, so that they can name it.

JSON with sorted keys; dataclasses as objects of those fields that are not at their defaults, sets sorted, enums by
value, arrays as base64 of their bytes, floats as the shortest text that gives the same float again. What a type says is
what is read: a value that does not fit it raises CodecError, as does a field that this version does not know.
"""

import dataclasses
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

T = TypeVar("T")


class CodecError(ValueError):
    """The bytes are no such value, or another version's."""


def encoded(value: object) -> bytes:
    """The canonical bytes of a value."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def decoded(kind: type[T], content: bytes) -> T:
    """The value of such bytes. Raises CodecError."""
    try:
        return cast(T, _reader(cast(Hashable, kind))(json.loads(content)))
    except CodecError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CodecError(f"no {kind.__name__}: {error}") from error


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.ndarray):
        content = b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return [value.dtype.str, list(value.shape), content]
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value):
        found = {}
        for field, default in _defaults(cast(Hashable, type(value))).items():
            own = getattr(value, field)
            if isinstance(own, np.ndarray) or own != default:
                found[field] = _plain(own)
        return found
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted((_plain(each) for each in value), key=str)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


_MISSING = object()


@cache
def _defaults(kind: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
        else:
            found[field.name] = _MISSING
    return found


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of a type from its plain form."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (int, str, bool):
        return _checked(kind)
    if kind is float:
        return lambda plain: float(_checked(int | float)(plain))
    if origin is np.ndarray:
        return _array
    if kind is datetime:
        return datetime.fromisoformat
    if origin in (Union, UnionType):
        return _optional(next(each for each in arguments if each is not NoneType))
    if origin in (tuple, frozenset):
        each, make = _reader(arguments[0]), origin
        return lambda plain: make(each(one) for one in _checked(list)(plain))
    if origin is not None and issubclass(origin, Mapping):
        of_value = _reader(arguments[1])
        return lambda plain: {key: of_value(one) for key, one in _checked(dict)(plain).items()}
    if issubclass(kind, Enum):
        return lambda plain: kind(plain)
    if dataclasses.is_dataclass(kind):
        return _object(kind)
    raise TypeError(f"{kind} has no canonical form")


def _checked(kind: Any) -> Callable[[Any], Any]:
    def read(plain: Any) -> Any:
        if not isinstance(plain, kind):
            raise CodecError(f"{type(plain).__name__} in place of {kind}")
        return plain

    return read


def _optional(kind: Any) -> Callable[[Any], Any]:
    read = _reader(kind)
    return lambda plain: None if plain is None else read(plain)


def _array(plain: Any) -> Any:
    dtype, shape, content = plain
    return np.frombuffer(b64decode(content, validate=True), np.dtype(dtype)).reshape(shape).copy()


def _object(kind: Any) -> Callable[[Any], Any]:
    readers: dict[str, Callable[[Any], Any]] = {}

    def read(plain: Any) -> Any:
        if not readers:  # at the first use: types may refer to each other
            hints = get_type_hints(kind)
            readers.update((field.name, _reader(hints[field.name])) for field in dataclasses.fields(kind))
        unknown = plain.keys() - readers.keys()
        if unknown:
            raise CodecError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
        return kind(**{name: readers[name](each) for name, each in plain.items()})

    return read
