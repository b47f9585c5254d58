"""Settings of the providers service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.chassis.sealing import KeyRing
from services.chassis.service_settings import FORWARDED_BYTES_MORE, MESSAGE_BYTES_MAX, ServiceSettings
from services.chassis.settings import (
    Address,
    Problem,
    address,
    boolean,
    dsn,
    env,
    integer,
    path,
    secret,
    target,
    text,
)
from services.chassis.settings import Secret as SecretText
from services.providers.adapters.http.proxy import Proxy


@dataclass(frozen=True, kw_only=True)
class ProvidersSettings(ServiceSettings):
    """What the providers service is told; vendors' keys come beside it, each in its own variable."""

    listen: Address = env(
        "TURNPIKE_LISTEN",
        address,
        "Where the gRPC server listens; port 0 takes a free one.",
        default=Address("127.0.0.1", 50053),
    )
    message_bytes_max: int = env(
        "TURNPIKE_MESSAGE_BYTES_MAX",
        integer(min=4096, max=256 * 1024 * 1024),
        "Largest message taken; more than the router takes, which adds ids and a lease to a request.",
        default=MESSAGE_BYTES_MAX + FORWARDED_BYTES_MORE,
    )
    endpoints_file: Path | None = env(
        "TURNPIKE_ENDPOINTS_FILE",
        path,
        "JSON or TOML with endpoints of one's own, such as local models. Not set: only vendors with a key.",
        default=None,
    )
    catalogue_folder: Path | None = env(
        "TURNPIKE_CATALOGUE_FOLDER",
        path,
        "Folder with catalogue files; a model in it stands for the shipped one. Not set: the shipped catalogue.",
        default=None,
    )
    budget_address: str | None = env(
        "TURNPIKE_BUDGET_ADDRESS",
        target,
        "The budget service, for the witness and for admin tokens. Not set: abandoned holds run out by their lease.",
        default=None,
    )
    postgres_dsn: SecretText | None = env(
        "TURNPIKE_POSTGRES_DSN",
        dsn("postgresql", "postgres"),
        "Where endpoints, credentials and overrides of admins are kept. Not set: admin RPCs are turned off.",
        default=None,
    )
    encryption_key: SecretText | None = env(
        "TURNPIKE_CREDENTIALS_KEY",
        secret,
        "Key that encrypts stored credentials: 32 bytes as base64; several with commas, the first encrypts.",
        default=None,
    )
    private_endpoints: bool = env(
        "TURNPIKE_PRIVATE_ENDPOINTS",
        boolean,
        "Let admins add endpoints with plain http at private addresses.",
        default=False,
    )
    certificates_file: Path | None = env(
        "TURNPIKE_VENDOR_CERTIFICATES_FILE",
        path,
        "PEM file of authorities that vendors' certificates may come from, beside the system's.",
        default=None,
    )
    proxy: SecretText | None = env(
        "HTTPS_PROXY",
        secret,
        "Proxy for vendors with https: http://host:port, perhaps with user:password@ before the host. Not set: none.",
        default=None,
    )
    proxy_exceptions: str = env(
        "NO_PROXY",
        text,
        "Hosts, domains, addresses and networks that are reached without the proxy, with commas between them.",
        default="",
    )
    attempts_max: int = env(
        "TURNPIKE_ATTEMPTS_MAX",
        integer(min=1, max=100_000),
        "Attempts under way at the same time on one Dispatch stream; more wait.",
        default=4096,
    )

    def problems(self) -> Iterator[Problem]:
        """What only several values together show."""
        yield from super().problems()
        for variable, file in (
            ("TURNPIKE_ENDPOINTS_FILE", self.endpoints_file),
            ("TURNPIKE_VENDOR_CERTIFICATES_FILE", self.certificates_file),
        ):
            if file is not None and not file.is_file():
                yield Problem(variable, f"{file} is not a file")
        if self.encryption_key is not None:
            try:
                KeyRing.parse(self.encryption_key)
            except ValueError as error:
                yield Problem("TURNPIKE_CREDENTIALS_KEY", str(error))
        if self.proxy is not None:
            try:
                Proxy.parse(self.proxy, self.proxy_exceptions)
            except ValueError as error:
                yield Problem("HTTPS_PROXY", str(error))
        if self.catalogue_folder is not None and not self.catalogue_folder.is_dir():
            yield Problem("TURNPIKE_CATALOGUE_FOLDER", f"{self.catalogue_folder} is not a folder")
