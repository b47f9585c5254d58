"""What the router is told by its environment."""

import base64
import binascii
from dataclasses import dataclass

from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import Address, Secret, address, dsn, env, integer, number, target


def _answers_key(value: str) -> bytes:
    try:
        key = base64.b64decode(value, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise ValueError("must be 32 bytes as base64")
    return key


@dataclass(frozen=True, kw_only=True)
class RouterSettings(ServiceSettings):
    """Settings of the router; those of every service come along."""

    listen: Address = env(
        "TURNPIKE_LISTEN",
        address,
        "Where the gRPC server listens; port 0 takes a free one.",
        default=Address("127.0.0.1", 50051),
    )
    deadline_s: float = env(
        "TURNPIKE_DEADLINE_S",
        number(min=0.1, max=3600),
        "Deadline of a request whose client set none.",
        default=120.0,
    )
    postgres_dsn: Secret = env(
        "TURNPIKE_POSTGRES_DSN",
        dsn("postgresql", "postgres"),
        "Where policies, grants, aliases and repeated requests lie.",
    )
    redis_url: Secret | None = env(
        "TURNPIKE_REDIS_URL",
        dsn("redis", "rediss", "unix"),
        "What replicas share of breakers and latencies. Not set: each keeps its own.",
        default=None,
    )
    budget_address: str = env("TURNPIKE_BUDGET_ADDRESS", target, "The budget service.")
    providers_address: str = env("TURNPIKE_PROVIDERS_ADDRESS", target, "The providers service.")
    analytics_address: str | None = env(
        "TURNPIKE_ANALYTICS_ADDRESS",
        target,
        "The analytics service, which keeps decision records. Not set: they are kept in memory alone.",
        default=None,
    )
    answers_key: bytes | None = env(
        "TURNPIKE_ANSWERS_KEY",
        _answers_key,
        "32 bytes as base64 that encrypt kept answers of projects that capture content. Not set: none is stored.",
        default=None,
    )
    decisions_kept: int = env(
        "TURNPIKE_ROUTER_DECISIONS_KEPT",
        integer(min=0, max=100_000),
        "Decisions of late that are explained from memory, about 10 KB each at twenty candidates.",
        default=500,
    )
