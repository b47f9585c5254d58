"""What docs/administration.md tells receivers to do accepts what we send, and nothing else."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.budget.use_cases.alerting import signature

PAGE = Path(__file__).parents[3] / "docs" / "administration.md"


@pytest.fixture
def genuine() -> Callable[[str, str, bytes], bool]:
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    names: dict[str, Callable[[str, str, bytes], bool]] = {}
    exec(example[1], names)
    return names["genuine"]


def test_the_example_takes_ours_alone(genuine: Callable[[str, str, bytes], bool]) -> None:
    now, body = int(time.time()), b'{"type": "alert"}'
    assert genuine("tpw_secret", signature("tpw_secret", now, body), body)
    assert not genuine("tpw_other", signature("tpw_secret", now, body), body)
    assert not genuine("tpw_secret", signature("tpw_secret", now, body), body + b" ")
    assert not genuine("tpw_secret", signature("tpw_secret", now - 3600, body), body)
