"""Finds out whose an admin token is, for the admin RPCs of router, providers and analytics.

The budget service owns admin tokens; this package asks it by the token's hash and remembers the answer for a moment.
It holds no right of its own: what a role may do is decided where the RPC is.
"""

from services.access.admins import AdminCaller, AdminRole, AdminTokens
from services.access.budget import look_up_by

__all__ = ["AdminCaller", "AdminRole", "AdminTokens", "look_up_by"]
