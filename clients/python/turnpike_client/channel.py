"""How the connection behaves, the same for both clients."""

from typing import Final

TIMEOUT_S: Final = 120.0  # long answers of slow models; the router carries it on to the vendor
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024  # pictures and sound that models make

# grpc itself repeats a call whose bytes never left. Nothing else is repeated for the caller: UNAVAILABLE may also mean
# that every attempt at a vendor failed, which only the application can judge. Its id makes a repetition safe.
OPTIONS: Final[tuple[tuple[str, str | int], ...]] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 60_000),  # long silences before a first token outlive idle proxies
)


def metadata(key: str) -> tuple[tuple[str, str], ...]:
    """Return what every call carries."""
    return (("authorization", f"Bearer {key}"),)
