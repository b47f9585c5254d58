import pytest

from services.chassis.logging import blot


@pytest.mark.parametrize(
    ("line", "blotted"),
    [
        ("key tpk_abcDEF-123_x used", "key tpk_… used"),
        ("authorization: Bearer abc.def", "authorization: Bearer …"),
        ('{"dsn":"postgresql://user:hunter2@host/db"}', '{"dsn":"postgresql://user:…@host/db"}'),
        ("http://127.0.0.1:4317 is a collector", "http://127.0.0.1:4317 is a collector"),
        ("org_01k9 stays", "org_01k9 stays"),
    ],
)
def test_secrets_are_blotted_out(line: str, blotted: str) -> None:
    assert blot(line) == blotted
