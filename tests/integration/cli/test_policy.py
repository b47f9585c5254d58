"""`turnpike policy` against a real router: documents in force, changed, compared, taken back; and what goes wrong."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.analytics.bootstrap import app as analytics_app
from services.analytics.settings import AnalyticsSettings
from services.chassis.app import serving
from services.chassis.channel import connect
from services.chassis.settings import Address, Secret
from tests.support.budget import OTHER_SERVICE
from tests.support.budget_admin import SERVICE, make_token
from tests.support.conditions import until
from tests.support.governing_by_hand import done, told, typed
from tests.support.raw_vendor import raw_vendor
from tests.support.road import CALL_S, Road, Vendor, request, road, router_beside
from tests.support.vendors import speak
from turnpike.budget.v1.entities_pb2 import ROLE_TEAM_ADMIN, ROLE_VIEWER
from turnpike.router.v1 import router_pb2, router_pb2_grpc

CHEAP = "strategy: cost\nprobe_share: 0\n"
ABLE = "strategy: capability\nprobe_share: 0\n"


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(speak) as vendor:
        models = {
            "cheap": Vendor(vendor.base_url, quality=0.5, input_rate=10**8, output_rate=10**8),
            "good": Vendor(vendor.base_url, quality=0.8, input_rate=10**10, output_rate=10**10),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


@pytest.fixture
def whose(on: Road) -> tuple[str, ...]:
    return "--organisation", on.tenant.organisation.organisation_id


async def chosen(on: Road, model: str = "") -> str:
    """Which model a request goes to first."""
    outcome = (await on.generate(model=model)).outcome
    return str(outcome.attempts[0].model)


def written(folder: Path, text: str, name: str = "policy.yaml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


async def test_a_policy_by_hand(on: Road, whose: tuple[str, ...], tmp_path: Path) -> None:
    at, project = on.address, on.tenant.project.project_id
    scope = ("--scope", project, *whose)
    cheap, able = written(tmp_path, CHEAP, "cheap.yaml"), written(tmp_path, ABLE, "able.yaml")
    assert await done(at, "policy", "check", cheap, able) == f"{cheap}: sound\n{able}: sound\n"
    (first,) = await told(at, "policy", "put", cheap, *scope, "--comment", "spring")
    policy_id = first["policy_id"]
    assert (first["version"], first["state"], first["scope"]) == (
        1,
        "POLICY_STATE_ACTIVE",
        f"project:{project}",
    )
    assert await chosen(on) == "local/cheap"
    assert "unchanged" in await done(at, "policy", "put", cheap, *scope)
    (second,) = await told(at, "policy", "put", able, *scope, "--expect", "1")
    assert (second["policy_id"], second["version"]) == (policy_id, 2)
    assert await chosen(on) == "local/good"
    assert await done(at, "policy", "show", policy_id) == ABLE
    assert await done(at, "policy", "show", project, *whose, "--version", "1") == CHEAP
    listed = await done(at, "policy", "versions", policy_id)
    assert [line.split()[:2] for line in listed.splitlines()] == [
        ["version", "state"],
        ["2", "active"],
        ["1", "active"],
    ]
    assert "spring" in listed
    changed = await done(at, "policy", "diff", policy_id)
    assert changed.splitlines()[-3:] == ["-strategy: cost", "+strategy: capability", " probe_share: 0"]
    assert "+strategy: cost" in await done(at, "policy", "diff", policy_id, "2", "1")
    assert "-strategy: capability" in await done(at, "policy", "diff", policy_id, "--file", cheap)
    assert await done(at, "policy", "diff", policy_id, "--file", able) == "no difference\n"
    assert "version 1" in await done(at, "policy", "rollback", policy_id, "--comment", "too dear")
    assert await chosen(on) == "local/cheap"
    (resting,) = await told(at, "policy", "state", project, "inactive", *whose)
    assert (resting["version"], resting["state"]) == (4, "POLICY_STATE_INACTIVE")
    kept = await typed(at, "policy", "delete", policy_id, says="n\n")
    assert kept.exit_code == 1
    assert policy_id in await done(at, "policy", "list", *whose)
    await done(at, "policy", "delete", policy_id, "--yes")
    assert await told(at, "policy", "list", *whose) == []
    trail = await told(at, "policy", "audit", "--entity", policy_id, *whose)
    methods = ["DeletePolicy", "PutPolicy", "RollBackPolicy", "PutPolicy", "PutPolicy"]
    assert [record["method"] for record in trail] == methods
    assert "state: active → inactive" in await done(at, "policy", "audit", *whose)


async def test_a_shadow_decides_beside_the_active_one(
    on: Road, whose: tuple[str, ...], tmp_path: Path
) -> None:
    at, scope = on.address, ("--scope", on.tenant.organisation.organisation_id)
    await done(at, "policy", "put", written(tmp_path, CHEAP), *scope)
    (shadow,) = await told(at, "policy", "put", written(tmp_path, ABLE), *scope, "--shadow")
    assert await chosen(on) == "local/cheap"
    listed = await told(at, "policy", "list", *whose)
    assert sorted(policy["state"] for policy in listed) == ["POLICY_STATE_ACTIVE", "POLICY_STATE_SHADOW"]
    (again,) = await told(
        at, "policy", "put", written(tmp_path, CHEAP), "--policy", shadow["policy_id"], *whose
    )
    assert (again["version"], again["state"]) == (2, "POLICY_STATE_SHADOW")
    both = await typed(at, "policy", "state", shadow["policy_id"], "active")
    assert both.exit_code == 1
    assert "is active already; change that one" in both.stderr


async def test_what_is_wrong_with_a_document_is_said_with_its_place(
    on: Road, whose: tuple[str, ...], tmp_path: Path
) -> None:
    wrong = written(tmp_path, "strategy: balanced\nquality:\n  min: 7\ncolour: red\n")
    checked = await typed(on.address, "policy", "check", wrong)
    assert checked.exit_code == 1
    places = [line.removeprefix(wrong).split(" ")[0] for line in checked.stdout.splitlines()]
    assert places == [":3:8:", ":4:1:"]
    (finding,) = [line for line in checked.stdout.splitlines() if ":3:8:" in line]
    assert ": error: quality.min: " in finding
    for command in (("put", wrong, "--scope", on.tenant.project.project_id), ("simulate", wrong)):
        refused = await typed(on.address, "policy", *command, *whose)
        assert refused.exit_code == 1
        assert f"{wrong}:3:8: error: quality.min" in refused.stderr
        assert "nothing was changed" in refused.stderr
    assert await told(on.address, "policy", "list", *whose) == []
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "is no text in UTF-8" in (await typed(on.address, "policy", "check", str(binary))).stderr


async def test_a_change_on_an_old_version_is_refused(
    on: Road, whose: tuple[str, ...], tmp_path: Path
) -> None:
    at, scope = on.address, ("--scope", on.tenant.project.project_id, *whose)
    absent = await typed(at, "policy", "put", written(tmp_path, CHEAP), *scope, "--expect", "3")
    assert absent.exit_code == 1
    assert "is not there, and version 3 was expected" in absent.stderr
    for text in (CHEAP, ABLE):
        await done(at, "policy", "put", written(tmp_path, text), *scope)
    for expected in ("0", "1"):
        stale = await typed(at, "policy", "put", written(tmp_path, CHEAP), *scope, "--expect", expected)
        assert stale.exit_code == 1, stale.stderr
        assert "expected" in stale.stderr or "was changed since it was read" in stale.stderr
    (policy,) = await told(at, "policy", "list", *whose)
    assert policy["version"] == 2
    backward = await typed(at, "policy", "rollback", policy["policy_id"], "9")
    assert backward.exit_code == 1
    assert "There is no policy" in backward.stderr


async def test_who_may_not_is_told_so(on: Road, whose: tuple[str, ...], tmp_path: Path) -> None:
    ours = {"organisation_id": on.tenant.organisation.organisation_id}
    viewer = await make_token(on.operator, ROLE_VIEWER, **ours)
    of_team = await make_token(on.operator, ROLE_TEAM_ADMIN, **ours, team_id=on.tenant.team.team_id)
    file, wide = written(tmp_path, CHEAP), ("--scope", on.tenant.organisation.organisation_id)
    for token in (viewer, of_team):
        refused = await typed(on.address, "policy", "put", file, *wide, token=token)
        assert refused.exit_code == 1
        assert "organisation admin" in refused.stderr
    assert await told(on.address, "policy", "list", token=viewer) == []  # reads, and need not say whose
    await done(on.address, "policy", "put", file, "--scope", on.tenant.project.project_id, token=of_team)
    for stranger in ("tpa_nobody", on.tenant.key_secret):
        unknown = await typed(on.address, "policy", "list", *whose, token=stranger)
        assert unknown.exit_code == 1
        assert unknown.stderr.startswith("Error: ")
        assert stranger not in unknown.stderr
    unsaid = await typed(on.address, "policy", "list")
    assert unsaid.exit_code == 1
    assert "organisation_id: is required for operators" in unsaid.stderr


async def test_an_unreachable_router_is_said_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, CHEAP)
    for words in (("check", file), ("list",), ("put", file, "--scope", "org_1")):
        nobody = f"unix:{tmp_path}/nobody.sock"
        failed = await typed(nobody, "policy", *words)
        assert failed.exit_code == 1
        assert nobody in failed.stderr
        assert "The router service cannot be reached" in failed.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("put", "FILE"),
        ("put", "FILE", "--scope", "org_1", "--policy", "pol_1"),
        ("put", "FILE", "--scope", "somebody"),
        ("put", "FILE", "--scope", "team:proj_1"),
        ("put", "FILE", "--scope", "key_1"),
        ("put", "FILE", "--scope", "org_1", "--shadow", "--state", "active"),
        ("put", "nowhere.yaml", "--scope", "org_1"),
        ("diff", "pol_1", "1", "2", "--file", "FILE"),
        ("simulate", "FILE", "--since", "yesterday"),
        ("simulate", "FILE", "--by", "weather"),
    ],
)
async def test_a_wrong_command_line_calls_nobody(words: tuple[str, ...], tmp_path: Path) -> None:
    file = written(tmp_path, CHEAP)
    given = [file if word == "FILE" else word for word in words]
    assert (await typed(f"unix:{tmp_path}/nobody.sock", "policy", *given)).exit_code == 2


async def test_a_simulation_says_who_would_have_gone_where(
    on: Road, whose: tuple[str, ...], tmp_path: Path
) -> None:
    analytics = AnalyticsSettings(
        listen=Address("127.0.0.1", 0),
        postgres_dsn=Secret(on.dsn),
        budget_address=on.budgets.address,
        service_token=Secret(SERVICE),
        service_tokens={"router": Secret(SERVICE), "providers": Secret(OTHER_SERVICE)},
        state_dir=tmp_path / "analytics",
        drain_s=0.2,
        access_log="off",
    )
    scope = ("--scope", on.tenant.project.project_id, *whose)
    await done(on.address, "policy", "put", written(tmp_path, CHEAP), *scope)
    async with (
        serving(analytics_app, analytics) as running,
        router_beside(on, analytics_address=str(running.address)) as at,
        connect("router", at, token=on.tenant.key_secret) as router,
    ):
        stub = router_pb2_grpc.RouterServiceStub(router.channel)

        async def usable() -> bool:
            listed = await router.unary(stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=CALL_S)
            return sum(model.usable for model in listed.models) == 2

        await until(usable)
        for _ in range(3):
            answer = await router.unary(stub.Generate, request(), timeout_s=CALL_S)
            assert answer.outcome.model == "local/cheap"
        able = written(tmp_path, ABLE, "able.yaml")

        async def replayed() -> bool:
            lines = await told(at, "policy", "simulate", able, "--since", "1h", *whose)
            return sum(int(line["requests"]) for line in lines) == 3

        await until(replayed)
        (line,) = await told(at, "policy", "simulate", able, "--since", "1h", "--by", "model", *whose)
        assert (line["group"], line["moved"], line["models_after"]) == (
            "local/cheap",
            "3",
            {"local/good": "3"},
        )
        assert int(line["cost_after"]["nanos"]) == 100 * int(line["cost_before"]["nanos"]) > 0
        assert line["quality_before"] < line["quality_after"]
        shown = await typed(at, "policy", "simulate", able, "--since", "1h", *scope)
        assert "3 past requests were decided again; nobody was called." in shown.stderr
        assert "+9900 %" in shown.stdout
        assert "local/good 3" in shown.stdout
        same = await told(at, "policy", "simulate", written(tmp_path, CHEAP), "--since", "1h", *whose)
        assert [each["moved"] for each in same] == ["0"]
