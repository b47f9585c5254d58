"""Ids that only the budget service gives."""

from services.kernel.ids import MadeId


class LimitRaiseId(MadeId):
    """Somebody's wish for a higher limit."""

    __slots__ = ()
    prefix = "raise"


class AlertId(MadeId):
    """Something an admin should know."""

    __slots__ = ()
    prefix = "alert"


class WebhookId(MadeId):
    """An address that alerts are sent to."""

    __slots__ = ()
    prefix = "hook"


class AuditId(MadeId):
    """One change that an admin made."""

    __slots__ = ()
    prefix = "aud"
