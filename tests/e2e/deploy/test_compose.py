"""docker-compose.yml is valid, and what it says starts: command, environment, ports and health checks to the letter."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from services.chassis import settings as chassis_settings
from tests.support import compose

PROJECT = compose.PROJECT


def test_it_is_what_compose_understands() -> None:
    jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec")).validate(
        yaml.safe_load(compose.FILE.read_text())
    )


def test_every_service_of_ours_is_gated_by_the_health_of_what_it_needs() -> None:
    services = compose.load({})["services"]
    for name in compose.ours({"services": services}):
        assert services[name]["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "services.chassis.probe"]
        for needed, how in services[name]["depends_on"].items():
            assert how["condition"] == "service_healthy", f"{name} does not wait for {needed}"


@pytest.mark.parametrize("name", ["budget", "providers", "analytics", "router"])
def test_a_service_is_told_nothing_it_does_not_know(name: str) -> None:
    """A variable that no setting reads is a misspelt one."""
    module = __import__(f"services.{name}.bootstrap", fromlist=["app"])
    known = {field.metadata["variable"] for field in chassis_settings.variables(module.app.settings)}
    told = set(compose.load({})["services"][name]["environment"])
    vendors = {variable for variable in told if variable.endswith("_API_KEY")}
    # Told to all of them, so that one block serves all: where Redis and traces are.
    assert told - vendors - {"TURNPIKE_REDIS_URL"} <= known


def test_the_observers_files_are_there_and_read() -> None:
    for mount in re.findall(r"\./(deploy/[^:\s\"]+):", compose.FILE.read_text()):
        assert (PROJECT / mount).exists(), mount
    for file in (PROJECT / "deploy").rglob("*.yml"):
        assert yaml.safe_load(file.read_text())
    dashboard = json.loads((PROJECT / "deploy/grafana/dashboards/turnpike.json").read_text())
    assert dashboard["panels"]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root: a network namespace of its own, for compose's own ports",
)
@pytest.mark.timeout(180)
def test_every_service_starts_as_compose_starts_it_and_stops_cleanly(tmp_path: Path) -> None:
    run = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.support.compose", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    reports = [json.loads(line) for line in run.stdout.splitlines()]
    assert {report["service"] for report in reports} == {"budget", "providers", "analytics", "router"}, (
        run.stderr
    )
    for report in reports:
        assert report["healthy"], f"{report['service']} is not healthy:\n{report['log']}"
        assert report["status"] == 0, f"{report['service']} did not stop cleanly:\n{report['log']}"
