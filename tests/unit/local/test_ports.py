import socket

import pytest

from services.local.ports import LOOPBACK, KeptPorts, any_free, is_free


def test_a_kept_port_is_nobody_elses_until_it_is_released() -> None:
    wish = any_free()
    kept = KeptPorts()
    assert kept.keep("a", [wish]) == wish
    assert not is_free(wish)
    assert kept.keep("b", [wish]) != wish
    another_stack = KeptPorts()
    assert another_stack.keep("a", [wish]) != wish
    kept.release("a")
    assert is_free(wish)
    kept.release("a")  # again: nothing happens
    kept.release_all_but(["c"])
    assert not kept._sockets
    another_stack.release("a")


def test_a_port_whose_connections_are_still_closing_is_used_again() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server of ours
        server.bind((LOOPBACK, 0))
        server.listen(1)
        port = server.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the server closes first: its side lingers in TIME_WAIT
            client.recv(1)
    with socket.socket() as strict, pytest.raises(OSError, match="in use"):
        strict.bind((LOOPBACK, port))
    assert KeptPorts().keep("a", [port]) == port
