"""Asks the budget service whose an admin token is."""

from services.access.admins import LookUp
from services.chassis.channel import Remote
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1 import entities_pb2 as entities
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub

LOOK_UP_TIMEOUT_S = 2.0  # one row by its key; an admin waits for it


def look_up_by(budget: Remote) -> LookUp:
    """A look-up over a channel to the budget service."""
    stub = BudgetServiceStub(budget.channel)

    async def look_up(secret_hash: bytes) -> entities.AdminToken:
        request = pb.AuthenticateAdminRequest(secret_hash=secret_hash)
        response = await budget.unary(stub.AuthenticateAdmin, request, timeout_s=LOOK_UP_TIMEOUT_S)
        return response.admin_token

    return look_up
