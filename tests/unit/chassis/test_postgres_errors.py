"""Which of asyncpg's errors mean that Postgres is away, and which that we used it wrongly."""

import asyncpg
import pytest

from services.chassis.postgres import is_unavailable


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
)
def test_postgres_is_away(error: Exception) -> None:
    assert is_unavailable(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UndefinedTableError("relation does not exist"),
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.InternalClientError("got result for unknown protocol state 3"),
    ],
)
def test_a_fault_of_ours_does_not_look_like_an_outage(error: Exception) -> None:
    assert not is_unavailable(error)
