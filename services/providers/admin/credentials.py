"""Admin RPCs of credentials: brought sealed, never shown."""

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.access import AdminRole
from services.kernel.errors import NotFound, PreconditionFailed
from services.kernel.ids import CredentialId
from services.kernel.model_ref import PROVIDER
from services.kernel.pages import page_key, page_rows
from services.providers.adapters.admin_store import Transaction
from services.providers.admin.shared import AdminRpcs, check, current_admin, owning_admin, page_of
from turnpike.providers.v1 import providers_admin_pb2 as pb

SECRET_LENGTH_MAX: Final = 16_384
"""A vendor's service account, as JSON, has about 2,500 characters."""
NAME_LENGTH_MAX: Final = 128


class CredentialRpcs(AdminRpcs):
    """Credentials, for operators and for the admins of the organisations that bring their own."""

    async def CreateCredential(
        self, request: pb.CreateCredentialRequest, context: object
    ) -> pb.CreateCredentialResponse:
        """Stores a secret, sealed. It is never returned."""
        given = request.credential
        caller = owning_admin(given.organisation_id)
        check(bool(PROVIDER.fullmatch(given.provider)), "credential.provider", "is no provider's name")
        check(len(given.display_name) <= NAME_LENGTH_MAX, "credential.display_name", "is too long")
        check(0 < len(request.secret) <= SECRET_LENGTH_MAX, "secret", "is missing or too long")
        keys = self.keys
        if keys is None:
            raise PreconditionFailed(
                "Credentials cannot be stored: the deployment has set no key to seal them with."
            )
        made = pb.Credential(
            credential_id=CredentialId.new(),
            provider=given.provider,
            display_name=given.display_name,
            organisation_id=given.organisation_id,
            origin="admin",
        )
        made.created_at.FromDatetime(self.clock.now())
        sealed = keys.seal(request.secret, (made.credential_id, made.provider, made.organisation_id))

        async def work(transaction: Transaction) -> pb.CreateCredentialResponse:
            await transaction.run(
                "add_credential",
                made.credential_id,
                made.provider,
                made.organisation_id,
                made.display_name,
                sealed,
                caller.admin_token_id,
                self.clock.now(),
            )
            return pb.CreateCredentialResponse(credential=made)

        change = self.change(caller, request, "credential.create", made.credential_id)
        return await self.made(await self.store.change(change, pb.CreateCredentialResponse, work))

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: object
    ) -> pb.ListCredentialsResponse:
        """Credentials without their secrets: an organisation's admin sees his own."""
        caller = current_admin(AdminRole.ORGANISATION_ADMIN)
        rows, after = page_rows(request.page_size), page_key(request.page_token, 1)
        created = {row.credential_id: row.created_at for row in self.deployment.stored.credentials}
        listed = []
        for credential in sorted(self.pool.all(), key=lambda credential: credential.credential_id):
            own = caller.role is AdminRole.OPERATOR or credential.organisation_id == caller.organisation_id
            if not own or request.provider not in ("", credential.provider):
                continue
            if after is not None and credential.credential_id <= after[0]:
                continue
            shown = pb.Credential(
                credential_id=credential.credential_id,
                provider=credential.provider,
                display_name=credential.display_name,
                organisation_id=credential.organisation_id,
                origin=credential.origin,
            )
            if credential.credential_id in created:
                shown.created_at.FromDatetime(created[credential.credential_id])
            resting_s = self.pool.resting_s(credential.credential_id)
            if resting_s is not None:
                until = self.clock.now().timestamp() + resting_s
                shown.resting_until.CopyFrom(Timestamp(seconds=int(until)))
            listed.append(shown)
        page, token = page_of(listed, rows, lambda item: item.credential_id)
        return pb.ListCredentialsResponse(credentials=page, next_page_token=token)

    async def DeleteCredential(
        self, request: pb.DeleteCredentialRequest, context: object
    ) -> pb.DeleteCredentialResponse:
        """Removes a stored credential; those of the environment and of files are removed there."""
        caller = current_admin(AdminRole.ORGANISATION_ADMIN)
        stored = next(
            (row for row in self.deployment.stored.credentials if row.credential_id == request.credential_id),
            None,
        )
        if stored is not None and caller.role is not AdminRole.OPERATOR:
            if stored.organisation_id != caller.organisation_id:
                stored = None
            if stored is None:
                raise NotFound("credential", request.credential_id)

        async def work(transaction: Transaction) -> pb.DeleteCredentialResponse:
            if stored is None or not await transaction.run("delete_credential", request.credential_id):
                raise NotFound("credential", request.credential_id)
            return pb.DeleteCredentialResponse()

        change = self.change(caller, request, "credential.delete", request.credential_id)
        return await self.made(await self.store.change(change, pb.DeleteCredentialResponse, work))
