"""Writes a schema as the compact JSON that vendors put before their models."""

import json

from google.protobuf.struct_pb2 import ListValue, Struct, Value


def struct_json(schema: Struct) -> str:
    """The schema as compact JSON; whole numbers without a fraction, as every JSON Schema means them."""
    pieces: list[str] = []
    _write_struct(schema, pieces)
    return "".join(pieces)


def _write_struct(struct: Struct, pieces: list[str]) -> None:
    pieces.append("{")
    separator = ""
    for key, value in struct.fields.items():
        pieces.append(f"{separator}{json.dumps(key, ensure_ascii=False)}:")
        separator = ","
        _write_value(value, pieces)
    pieces.append("}")


def _write_list(values: ListValue, pieces: list[str]) -> None:
    pieces.append("[")
    for position, value in enumerate(values.values):
        if position:
            pieces.append(",")
        _write_value(value, pieces)
    pieces.append("]")


def _write_value(value: Value, pieces: list[str]) -> None:
    match value.WhichOneof("kind"):
        case "string_value":
            pieces.append(json.dumps(value.string_value, ensure_ascii=False))
        case "struct_value":
            _write_struct(value.struct_value, pieces)
        case "list_value":
            _write_list(value.list_value, pieces)
        case "bool_value":
            pieces.append("true" if value.bool_value else "false")
        case "number_value":
            number = value.number_value
            pieces.append(str(int(number)) if number.is_integer() else repr(number))
        case _:
            pieces.append("null")
