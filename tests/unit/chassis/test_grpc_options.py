"""Options of channels and servers: gRPC passes over names that it does not know, without a word."""

import re
from pathlib import Path

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from services.chassis import channel, server

LIBRARY = Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("module", [channel, server], ids=lambda module: module.__name__)
def test_every_option_is_one_that_grpc_knows(module: object) -> None:
    names = re.findall(r'"(grpc\.[a-z0-9_.]+)"', Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]
    assert names
    assert [name for name in names if f"{name}\0".encode() not in LIBRARY] == []
