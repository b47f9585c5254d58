"""Who a service says it is to a collector."""

import pytest

from services.chassis.app import resource_of


def test_a_service_is_named_and_what_the_operator_adds_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab,team=search")
    said = resource_of("router")
    assert said["service.name"] == "router"
    assert said["service.namespace"] == "turnpike"
    assert said["telemetry.sdk.name"] == "turnpike"
    assert (said["deployment.environment.name"], said["team"]) == ("lab", "search")
