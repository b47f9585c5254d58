"""What the admin RPCs share: who calls, what makes a change the same change, and putting it in force."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from services.access import AdminCaller, AdminRole
from services.chassis.call import current_call
from services.chassis.sealing import KeyRing
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest, NotFound, PermissionDenied
from services.kernel.ids import RequestId
from services.kernel.model_ref import ModelRef
from services.kernel.pages import page_token
from services.providers.adapters.admin_store import AdminStore, Change
from services.providers.adapters.credentials import CredentialPool
from services.providers.deployment import Deployment
from services.providers.use_cases.endpoints import EndpointBook
from services.providers.use_cases.models import Models

Request = TypeVar("Request", bound=Message)


@dataclass
class AdminRpcs:
    """What every group of RPCs works with."""

    store: AdminStore
    deployment: Deployment
    models: Models
    book: EndpointBook
    pool: CredentialPool
    keys: KeyRing | None
    """None: credentials cannot be stored."""
    clock: Clock
    allow_private_http: bool

    def change(self, caller: AdminCaller, request: Message, action: str, entity_id: str) -> Change:
        """What `caller` asks for, and what makes it the same when it comes again. Raises InvalidRequest."""
        request_id = str(getattr(request, "request_id", ""))
        try:
            RequestId.parse(request_id)
        except ValueError as error:
            raise InvalidRequest.of("request_id", str(error)) from error
        content = type(request).DESCRIPTOR.full_name.encode() + request.SerializeToString(deterministic=True)
        digest = hashlib.sha256(content).digest()
        return Change(caller.admin_token_id, request_id, digest, action, entity_id, self.clock.now())

    async def made(self, response: Request) -> Request:
        """Puts a change in force here before it is answered; other replicas follow within a second."""
        await self.deployment.load(self.store)
        return response


def current_admin(*roles: AdminRole) -> AdminCaller:
    """The admin who calls; raises PermissionDenied unless he is an operator or has one of the roles."""
    call = current_call()
    if call is None or not isinstance(call.caller, AdminCaller):
        raise PermissionDenied("an admin token")
    call.caller.require(*roles)
    return call.caller


def owning_admin(organisation_id: str) -> AdminCaller:
    """The admin who calls, if the organisation is his; what is for all is for operators."""
    caller = current_admin(AdminRole.ORGANISATION_ADMIN)
    if caller.role is not AdminRole.OPERATOR and organisation_id != caller.organisation_id:
        raise (
            NotFound("organisation", organisation_id)
            if organisation_id
            else PermissionDenied("the role operator")
        )
    return caller


def check(right: bool, field: str, description: str) -> None:
    """Raises InvalidRequest of one field, unless it is right."""
    if not right:
        raise InvalidRequest.of(field, description)


def model_ref(text: str, field: str) -> ModelRef:
    """`provider/model` as a reference. Raises InvalidRequest."""
    try:
        return ModelRef.parse(text)
    except ValueError as error:
        raise InvalidRequest.of(field, str(error)) from error


def page_of(items: list[Request], rows: int, name: Callable[[Request], str]) -> tuple[list[Request], str]:
    """The first `rows` of the items, and the token of what follows; empty if nothing does."""
    page = items[:rows]
    return page, page_token((name(page[-1]),)) if len(items) > rows else ""
