"""Endpoints as an operator writes them down: JSON or TOML, everything that is wrong told at once.

    [[endpoints]]
    model = "local/smollm2-express"           # provider/model, as applications ask for it
    base_url = "http://127.0.0.1:50071/v1"    # up to what the wire format appends; http only to private addresses
    wire_format = "openai_chat"               # optional: the catalogue's, else the vendor's first
    vendor_model = "smollm2-express"          # optional: the model's name there
    api_key_env = "MODEL_SERVER_KEY"          # optional: the variable that holds its key
    endpoint_id = "express"                   # optional: the model, with #2, #3 … where it has several
    region = "eu"
    weight = 1.0
    concurrency_max = 4
    timeouts = { connect_s = 2, first_token_s = 60, idle_s = 30, total_s = 600 }

    [endpoints.facts]                         # optional: for models that the catalogue does not know, in its format
    prices = [{ source = "our tariff", tiers = [{ input = 50_000_000, output = 100_000_000 }] }]
    can = ["streaming", "tools"]
    limits = { context_tokens_max = 8192 }

An unknown field is an error: a misspelt limit would otherwise be no limit.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from services.kernel.model_ref import ModelRef
from services.providers.adapters.catalogue.fields import Problems, Table
from services.providers.adapters.catalogue.toml_files import read_model
from services.providers.adapters.credentials import credential_id
from services.providers.adapters.registry import format_of, vendor_named
from services.providers.domain.catalogue import CatalogueModel
from services.providers.domain.endpoint import CONCURRENCY_DEFAULT, EndpointSpec, Timeouts, base_url_problem
from services.providers.ports import Credential

FILE_BYTES_MAX: Final = 4 << 20


class EndpointsInvalid(ValueError):
    """The file cannot be used; the message has every problem with its place."""


@dataclass(frozen=True, slots=True)
class WrittenEndpoints:
    """What a file says."""

    endpoints: tuple[EndpointSpec, ...]
    """Without profile and tokenizer, which come from the catalogue."""
    models: tuple[CatalogueModel, ...]
    """Models that the file itself describes."""
    credentials: tuple[Credential, ...]


def read_endpoints(file: Path, environment: Mapping[str, str]) -> WrittenEndpoints:
    """What `file` says, with the keys it names taken from `environment`.

    Raises EndpointsInvalid with everything that is wrong, also if the file cannot be read.
    """
    reading = _Reading(file.name, environment)
    top = Table(_parsed(file), file.name, reading.problems)
    for table in top.tables("endpoints"):
        reading.take(table)
    top.close()
    return reading.result()


class _Reading:
    """One reading of one file."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.problems = Problems()
        self._name = name
        self._environment = environment
        self._endpoints: dict[str, EndpointSpec] = {}
        self._models: dict[ModelRef, CatalogueModel] = {}
        self._credentials: dict[str, Credential] = {}

    def result(self) -> WrittenEndpoints:
        if self.problems.found:
            raise EndpointsInvalid("the endpoints file is invalid:\n  " + "\n  ".join(self.problems.all()))
        return WrittenEndpoints(
            tuple(self._endpoints.values()), tuple(self._models.values()), tuple(self._credentials.values())
        )

    def take(self, table: Table) -> None:
        try:
            ref = ModelRef.parse(table.text("model", required=True))
        except ValueError as error:
            table.problem("model", str(error))
            return
        base_url = (table.text("base_url") or vendor_named(ref.provider).base_url).rstrip("/")
        problem = base_url_problem(base_url, allow_private_http=True)
        if problem is not None:
            table.problem("base_url", problem)
        wire_format = table.text("wire_format")
        if wire_format and format_of(ref.provider, wire_format) is None:
            table.problem("wire_format", f"nothing here speaks {wire_format}")
        described = read_model(table.table("facts"), ref)
        if described is not None:
            self._models[ref] = described
        key = self._key(table, ref)
        taken = sum(1 for spec in self._endpoints.values() if spec.model == str(ref))
        endpoint_id = table.text("endpoint_id") or (f"{ref}#{taken + 1}" if taken else str(ref))
        if endpoint_id in self._endpoints:
            table.problem("endpoint_id", f"another endpoint is named {endpoint_id}")
        self._endpoints[endpoint_id] = EndpointSpec(
            endpoint_id=endpoint_id,
            model=str(ref),
            provider=ref.provider,
            wire_format=wire_format,
            base_url=base_url,
            vendor_model=table.text("vendor_model"),
            region=table.text("region"),
            weight=table.number("weight") or 1.0,
            concurrency_max=table.count("concurrency_max", least=1) or CONCURRENCY_DEFAULT,
            credential_id=key.credential_id if key is not None else "",
            needs_credential=key is not None or bool(vendor_named(ref.provider).credential_variables),
            timeouts=_timeouts(table.table("timeouts")),
        )
        table.close()

    def _key(self, table: Table, ref: ModelRef) -> Credential | None:
        variable = table.text("api_key_env")
        if not variable:
            return None
        secret = self._environment.get(variable, "").strip()
        if not secret:
            table.problem("api_key_env", f"the environment variable {variable} is not set")
            return None
        key = Credential(
            credential_id(ref.provider, secret), ref.provider, secret, display_name=variable, origin="file"
        )
        self._credentials[key.credential_id] = key
        return key


def _timeouts(table: Table) -> Timeouts:
    given = {field.name: table.number(field.name) for field in fields(Timeouts)}
    table.close()
    return Timeouts(**{name: seconds for name, seconds in given.items() if seconds is not None})


def _parsed(file: Path) -> Any:
    try:
        content = file.read_bytes()
        if len(content) > FILE_BYTES_MAX:
            raise EndpointsInvalid(f"{file.name} has more than {FILE_BYTES_MAX} bytes")
        text = content.decode()
        return json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise EndpointsInvalid(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, EndpointsInvalid):
            raise
        raise EndpointsInvalid(
            f"{file.name} is not {'JSON' if file.suffix == '.json' else 'TOML'}: {error}"
        ) from error
