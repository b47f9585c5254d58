"""No test here leaves a cluster behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack_process import remove_clusters


@pytest.fixture(autouse=True)
def no_cluster_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    remove_clusters(tmp_path)
