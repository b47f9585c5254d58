"""What this deployment has: its files, its environment and what admins set, put together and put in force.

A replica looks once a second whether admins changed anything, and loads all of it if so. Postgres being down changes
nothing: what is in memory stays in force.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from google.protobuf.field_mask_pb2 import FieldMask

from services.chassis.sealing import CannotOpen, KeyRing
from services.kernel.clock import Clock
from services.kernel.errors import TurnpikeError
from services.kernel.model_ref import ModelRef
from services.providers.adapters.admin_store import AdminStore, Stored
from services.providers.adapters.credentials import CredentialPool
from services.providers.convert_catalogue import with_override
from services.providers.convert_endpoints import from_pb_endpoint
from services.providers.domain.catalogue import Catalogue, CatalogueInvalid, CatalogueModel
from services.providers.domain.endpoint import EndpointSpec
from services.providers.ports import Credential
from services.providers.use_cases.models import Models
from turnpike.providers.v1 import catalogue_pb2, providers_admin_pb2

LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger()


class Deployment:
    """Puts everything in force, at the start and after each change."""

    def __init__(
        self,
        catalogue: Catalogue,
        models: Models,
        pool: CredentialPool,
        clock: Clock,
        *,
        given_credentials: Iterable[Credential],
        given_endpoints: Iterable[EndpointSpec],
        keys: KeyRing | None = None,
    ) -> None:
        self._base = catalogue
        self._models = models
        self._pool = pool
        self._clock = clock
        self._given_credentials = tuple(given_credentials)
        self._given_endpoints = tuple(given_endpoints)
        self._keys = keys
        self.stored = Stored()
        """What admins set, as it is in force."""

    def put_in_force(self, stored: Stored) -> None:
        """Makes `stored`, with the files and the environment, what this replica works by."""
        self.stored = stored
        self._pool.replace([*self._given_credentials, *self._opened(stored)])
        made = []
        for row in stored.endpoints:
            config = providers_admin_pb2.EndpointConfig.FromString(row.config)
            made.append(from_pb_endpoint(config))
        named = {spec.endpoint_id for spec in made}
        self._models.put(
            self.catalogue_with(stored),
            [*(spec for spec in self._given_endpoints if spec.endpoint_id not in named), *made],
        )

    def _opened(self, stored: Stored) -> Iterable[Credential]:
        for row in stored.credentials:
            if self._keys is None:
                log.warning(
                    "a stored credential cannot be opened: no key is set", credential=row.credential_id
                )
                continue
            try:
                secret = self._keys.open(row.sealed, (row.credential_id, row.provider, row.organisation_id))
            except CannotOpen as error:
                log.warning(
                    "a stored credential cannot be opened", credential=row.credential_id, why=str(error)
                )
                continue
            yield Credential(
                row.credential_id, row.provider, secret, row.organisation_id, row.display_name, origin="admin"
            )

    def catalogue_with(self, stored: Stored) -> Catalogue:
        """The catalogue with all overrides. Raises CatalogueInvalid."""
        if not stored.overrides:
            return self._base
        moment = self._clock.now()
        overrides: dict[str, dict[ModelRef, CatalogueModel]] = {}
        for row in sorted(stored.overrides, key=lambda row: row.organisation_id):
            ref = ModelRef.parse(row.model)
            known = overrides.get("", {}).get(ref) or self._base.get(ref) or CatalogueModel(ref)
            facts = catalogue_pb2.Model.FromString(row.facts)
            try:
                changed = with_override(known, facts, FieldMask(paths=row.paths), moment)
            except ValueError as error:
                raise CatalogueInvalid([f"{row.model}: {error}"]) from error
            overrides.setdefault(row.organisation_id, {})[ref] = changed
        return Catalogue(self._base.models(), overrides, stored.revision + 1)

    async def load(self, store: AdminStore) -> None:
        """Puts in force what the store has."""
        self.put_in_force(await store.load())

    async def follow(self, store: AdminStore) -> None:
        """Keeps up with the store until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if await store.revision() != self.stored.revision:
                    await self.load(store)
            except TurnpikeError as error:
                log.warning("cannot look for changes; what is known stays in force", reason=error.reason)
            except CatalogueInvalid as error:
                log.error("a change cannot be put in force", problems=error.problems)
