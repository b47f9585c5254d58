"""Which TCP ports the stack listens on: the documented ones where they are free, others where they are not."""

import socket

LOOPBACK = "127.0.0.1"
ANY = 0  # a port that does not matter


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on `port` now; connections still closing there do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def any_free(host: str = LOOPBACK) -> int:
    """Return a port that the system says is free. Nothing keeps it so: use it at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def prefer(port: int, host: str = LOOPBACK) -> int:
    """Return `port` if it is free, else another that is."""
    return port if is_free(port, host) else any_free(host)
