"""Whose call is being served."""

from dataclasses import dataclass
from dataclasses import replace as with_changes

from services.chassis.call import Caller as ChassisCaller
from services.chassis.call import current_call
from services.kernel.errors import CredentialsMissing, PermissionDenied
from services.router.domain.access import Caller


@dataclass(frozen=True, slots=True)
class KeyCaller(ChassisCaller):
    """A tenant's key that was authenticated."""

    caller: Caller


def current_caller(user: str = "") -> Caller:
    """On whose behalf the current call runs; `user` is the pseudonym of the end user it names. Raises PermissionDenied.

    A key that belongs to a user, or that may not act for users, cannot name another.
    """
    call = current_call()
    if call is None or not isinstance(call.caller, KeyCaller):
        raise CredentialsMissing("a key (tpk_…)")
    caller = call.caller.caller
    if not user or user == caller.user_id:
        return caller
    if not caller.may_act_for_users:
        raise PermissionDenied("a key with the permission to act for users")
    return with_changes(caller, user_id=user)


def left_s(default_s: float) -> float:
    """What is left of the current call's deadline, in seconds; `default_s` where its caller set none."""
    call = current_call()
    left = None if call is None else call.left_s
    return default_s if left is None else left
