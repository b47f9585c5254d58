"""Which TCP ports the stack listens on: the documented ones where they are free, others where they are not."""

import socket
from collections.abc import Collection, Sequence

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


class KeptPorts:
    """Ports that nobody else takes until each is released, right before its server starts.

    A bound socket keeps a port without serving it. It is bound without SO_REUSEADDR, so that other stacks, which look
    with it, see the port taken.
    """

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def keep(self, name: str, wishes: Sequence[int], host: str = LOOPBACK) -> int:
        """Keep the first of `wishes` that is free, or any other, under `name`; return it."""
        for port in (*wishes, ANY):
            if port != ANY and not is_free(port, host):
                continue
            keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                keeper.bind((host, port))
            except OSError:
                keeper.close()
                if port == ANY:
                    raise
                return port  # free, but connections of its last server are still closing: it cannot be kept
            self._sockets[name] = keeper
            chosen: int = keeper.getsockname()[1]
            return chosen
        raise AssertionError("ANY is the last wish")

    def release(self, name: str) -> None:
        """Free the port of `name`, if it is still kept."""
        if keeper := self._sockets.pop(name, None):
            keeper.close()

    def release_all_but(self, names: Collection[str]) -> None:
        """Free the ports of everything that will not be started."""
        for name in self._sockets.keys() - set(names):
            self.release(name)
