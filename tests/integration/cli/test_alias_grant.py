"""`turnpike alias` and `turnpike grant` against a real router."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.status import RemoteError
from tests.support.budget_admin import make_token
from tests.support.governing_by_hand import done, told, typed
from tests.support.raw_vendor import raw_vendor
from tests.support.road import Road, Vendor, road
from tests.support.vendors import speak
from turnpike.budget.v1.entities_pb2 import ROLE_VIEWER


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(speak) as vendor:
        models = {name: Vendor(vendor.base_url) for name in ("old", "new")}
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


@pytest.fixture
def whose(on: Road) -> tuple[str, ...]:
    return "--organisation", on.tenant.organisation.organisation_id


async def chosen(on: Road, model: str = "") -> str:
    """Which model a request goes to first."""
    outcome = (await on.generate(model=model)).outcome
    return str(outcome.attempts[0].model)


async def test_a_model_is_moved_share_by_share(on: Road, whose: tuple[str, ...]) -> None:
    at = on.address
    shown = await done(at, "alias", "put", "support", "local/old=97.5%", "local/new=2.5", *whose)
    assert "local/old 97.5 %, local/new 2.5 %" in shown
    (moved,) = await told(at, "alias", "put", "support", "local/old=0", "local/new=100", *whose)
    assert (moved["version"], [target["permille"] for target in moved["targets"]]) == (2, [0, 1000])
    assert {await chosen(on, model="support") for _ in range(5)} == {"local/new"}
    mirrored = ("--mirror", "local/old", "--mirror-share", "10")
    await done(at, "alias", "put", "either", "local/old", "local/new", *mirrored, *whose)
    listed = await done(at, "alias", "list", *whose)
    assert "local/old or local/new" in listed
    assert "local/old 10 %" in listed
    kept = await typed(at, "alias", "delete", "support", *whose, says="\n")
    assert kept.exit_code == 1
    await done(at, "alias", "delete", "support", *whose, says="y\n")
    assert [each["alias"] for each in await told(at, "alias", "list", *whose)] == ["either"]
    with pytest.raises(RemoteError) as refused:
        await on.generate(model="support")
    assert refused.value.reason == "MODEL_NOT_FOUND"
    gone = await typed(at, "alias", "delete", "support", "--yes", *whose)
    assert gone.exit_code == 1
    assert "There is no alias support" in gone.stderr
    trail = await told(at, "policy", "audit", "--entity", "support", *whose)
    assert [record["method"] for record in trail] == ["DeleteAlias", "PutAlias", "PutAlias"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("local/old=95",), "shares add up to 95 %, not 100 %"),
        (("local/old=95", "local/new"), "either every model has a share, or none has"),
        (("local/old=x", "local/new=5"), "local/old=x: x is no share"),
        (("local/old=nan",), "a share is 0 to 100"),
        (("local/old=99.95", "local/new=0.05"), "in tenths at most"),
        (("local/old=101",), "a share is 0 to 100"),
        (("local/old", "--mirror", "local/new"), "--mirror and --mirror-share go together"),
    ],
)
async def test_shares_are_shares(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    wrong = await typed(f"unix:{tmp_path}/nobody.sock", "alias", "put", "support", *words)
    assert wrong.exit_code == 2
    assert said in wrong.stderr


async def test_what_the_router_does_not_take_is_said_in_a_line(on: Road, whose: tuple[str, ...]) -> None:
    for words in (("alias", "put", "Support!", "local/old"), ("grant", "allow", "no such", "--to", whose[1])):
        refused = await typed(on.address, *words, *whose)
        assert refused.exit_code == 1
        assert refused.stderr.startswith(
            "Error: alias.alias" if words[0] == "alias" else "Error: grant.model_pattern"
        )


async def test_grants_bind_and_are_taken_back(on: Road, whose: tuple[str, ...]) -> None:
    at, key = on.address, on.tenant.key.key_id
    (allowed,) = await told(at, "grant", "allow", "local/old", "--to", on.tenant.project.project_id, *whose)
    assert {await chosen(on) for _ in range(3)} == {"local/old"}
    shown = await done(at, "grant", "deny", "local/*", "--to", key, *whose)
    assert shown.split()[2:4] == ["denied", "local/*"]
    with pytest.raises(RemoteError):
        await on.generate()
    listed = [line.split() for line in (await done(at, "grant", "list", *whose)).splitlines()[1:]]
    assert [words[1:4] for words in listed] == [
        [on.tenant.project.project_id, "allowed", "local/old"],
        [key, "denied", "local/*"],
    ]
    (denied,) = await told(at, "grant", "list", "--to", key, *whose)
    assert denied["deny"]
    kept = await typed(at, "grant", "delete", denied["grant_id"], says="n\n")
    assert kept.exit_code == 1
    for made in (denied, allowed):
        await done(at, "grant", "delete", made["grant_id"], "--yes")
    assert await told(at, "grant", "list", *whose) == []
    assert await chosen(on) in ("local/old", "local/new")
    viewer = await make_token(on.operator, ROLE_VIEWER, organisation_id=whose[1])
    refused = await typed(at, "grant", "deny", "*", "--to", key, token=viewer)
    assert refused.exit_code == 1
    assert "organisation admin" in refused.stderr
