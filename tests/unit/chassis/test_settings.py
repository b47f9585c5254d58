from dataclasses import dataclass

import pytest

from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import (
    Address,
    Problem,
    Secret,
    SettingsInvalid,
    address,
    boolean,
    choice,
    describe,
    dsn,
    env,
    integer,
    load,
    named_secrets,
    number,
    target,
    url,
)


@dataclass(frozen=True, kw_only=True)
class Example(ServiceSettings):
    store: Secret = env("X_STORE", dsn("postgresql"), "Where it is kept.")
    low: int = env("X_LOW", integer(min=0), "The lower bound.", default=1)
    high: int = env("X_HIGH", integer(max=10), "The upper bound.", default=5)

    def problems(self):  # type: ignore[no-untyped-def]
        yield from super().problems()
        if self.low > self.high:
            yield Problem("X_LOW", "must not be above X_HIGH")


def test_a_full_environment_makes_frozen_settings() -> None:
    settings = load(
        Example,
        {
            "X_STORE": "postgresql://u:hunter2@h/d",
            "X_LOW": " 2 ",
            "TURNPIKE_LISTEN": "[::1]:7001",
            "TURNPIKE_SERVICE_TOKENS": "router=tps_a, analytics=tps_b",
        },
    )
    assert settings.low == 2
    assert settings.listen == Address("::1", 7001)
    assert settings.service_tokens == {"router": "tps_a", "analytics": "tps_b"}
    with pytest.raises(AttributeError):
        settings.low = 3  # type: ignore[misc]


def test_all_problems_are_reported_at_once_and_no_secret() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(
            Example,
            {"X_STORE": "mysql://u:hunter2@h", "X_LOW": "-1", "X_HIGH": "many", "TURNPIKE_DRAIN_S": "nan"},
        )
    assert {problem.variable for problem in caught.value.problems} == {
        "X_STORE",
        "X_LOW",
        "X_HIGH",
        "TURNPIKE_DRAIN_S",
    }
    assert "X_LOW: must be at least 0. The lower bound." in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_required_variable_says_what_it_is_for() -> None:
    with pytest.raises(SettingsInvalid, match=r"X_STORE: is required. Where it is kept\."):
        load(Example, {"X_STORE": "  "})


def test_values_are_checked_together() -> None:
    with pytest.raises(SettingsInvalid, match="X_LOW: must not be above X_HIGH"):
        load(Example, {"X_STORE": "postgresql:///d", "X_LOW": "9", "X_HIGH": "8"})
    with pytest.raises(SettingsInvalid, match="token of router must begin with tps_"):
        load(Example, {"X_STORE": "postgresql:///d", "TURNPIKE_SERVICE_TOKENS": "router=secret"})


def test_secrets_do_not_show() -> None:
    settings = Example(store=Secret("hunter2"), service_tokens={"a": Secret("tps_hunter2")})
    assert "hunter2" not in repr(settings)


def test_help_names_every_variable_with_its_default() -> None:
    text = describe(Example)
    assert "X_STORE\n      Where it is kept. (required)" in text
    assert "TURNPIKE_DRAIN_S" in text
    assert "default 20.0" in text


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (address, "0.0.0.0:0", Address("0.0.0.0", 0)),
        (target, "budget:7001", "budget:7001"),
        (target, "dns:///budget:7001", "dns:///budget:7001"),
        (boolean, "Yes", True),
        (boolean, "off", False),
        (choice("json", "console"), "JSON", "json"),
        (integer(), "1_000", 1000),
        (number(max=1), "0.5", 0.5),
        (url("http", "https"), "http://h:4317", "http://h:4317"),
    ],
)
def test_parsers_take(parse, text, value) -> None:  # type: ignore[no-untyped-def]
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (address, "host"),
        (address, ":80"),
        (address, "host:99999"),
        (boolean, "maybe"),
        (choice("a"), "b"),
        (number(), "inf"),
        (url("http"), "http://"),
        (url("http"), "http://h:port"),
        (named_secrets, "router"),
        (named_secrets, "a=1,a=2"),
    ],
)
def test_parsers_refuse(parse, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="must|names"):
        parse(text)
