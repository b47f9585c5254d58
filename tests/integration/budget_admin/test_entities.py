"""Making, reading, changing and archiving: what is wrong is said all at once, and what was done is done once."""

import asyncio
import json
from typing import Any

import pytest

from services.chassis.status import RemoteError
from tests.support.budget_admin import Admin, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.entities_pb2 import (
    CALENDAR_PERIOD_DAY,
    CALENDAR_PERIOD_MINUTE,
    CALENDAR_PERIOD_MONTH,
    CALENDAR_PERIOD_WEEK,
    ENTITY_STATE_ARCHIVED,
    ROLE_OPERATOR,
    AdminToken,
    Budget,
    BudgetSubject,
    CalendarPeriod,
    CalendarWindow,
    Key,
    Organisation,
    RollingWindow,
    Team,
    User,
    Window,
)
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_CONCURRENCY, BUDGET_UNIT_MONEY


async def refusal(call: Any) -> RemoteError:
    with pytest.raises(RemoteError) as refused:
        await call
    return refused.value


async def test_everything_that_is_wrong_is_said_at_once(admin: Admin) -> None:
    api = await admin.operator()
    wrong = await refusal(
        api.CreateOrganisation(
            pb.CreateOrganisationRequest(
                request_id="not allowed!",
                organisation=Organisation(
                    display_name="two\nlines",
                    time_zone="Mars/Olympus",
                    discount_ppm=1_000_001,
                    data_class="TOP SECRET",
                    unknown_price_policy="free",
                ),
            )
        )
    )
    assert wrong.reason == "INVALID_REQUEST"
    assert {violation.field for violation in wrong.violations} == {
        "request_id",
        "organisation.display_name",
        "organisation.time_zone",
        "organisation.discount_ppm",
        "organisation.data_class",
        "organisation.unknown_price_policy",
    }


def calendar(period: "CalendarPeriod.ValueType", **more: Any) -> Window:
    return Window(calendar=CalendarWindow(period=period, **more))


BUDGET = Budget(
    subject=BudgetSubject(organisation_id="org_" + "0" * 26),
    unit=BUDGET_UNIT_MONEY,
    limit=1,
    display_name="x",
)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"limit": -1}, "budget.limit"),
        ({"limit": 2**63 - 1}, "budget.limit"),
        ({"unit": 0}, "budget.unit"),
        ({"unit": 99}, "budget.unit"),
        ({"mode": 99}, "budget.mode"),
        ({"alert_percents": [0]}, "budget.alert_percents[0]"),
        ({"alert_percents": [50, 1001]}, "budget.alert_percents[1]"),
        ({"subject": BudgetSubject()}, "budget.subject"),
        ({"subject": BudgetSubject(team_id="org_1")}, "budget.subject.team_id"),
        ({"display_name": ""}, "budget.display_name"),
        ({"display_name": "x" * 129}, "budget.display_name"),
        ({"display_name": "nul\x00"}, "budget.display_name"),
        ({"window": Window(calendar=CalendarWindow())}, "budget.window.calendar.period"),
        (
            {"window": Window(calendar=CalendarWindow(period=CALENDAR_PERIOD_WEEK, start_day=8))},
            "budget.window.calendar",
        ),
        (
            {"window": Window(calendar=CalendarWindow(period=CALENDAR_PERIOD_MINUTE, start_day=2))},
            "budget.window.calendar",
        ),
        (
            {"window": Window(calendar=CalendarWindow(period=CALENDAR_PERIOD_MONTH, time_zone="Nowhere"))},
            "budget.window.calendar.time_zone",
        ),
        ({"window": Window(rolling=RollingWindow(buckets=61))}, "budget.window.rolling"),
        (
            {
                "unit": BUDGET_UNIT_CONCURRENCY,
                "window": Window(calendar=CalendarWindow(period=CALENDAR_PERIOD_DAY)),
            },
            "budget.window",
        ),
    ],
    ids=str,
)
async def test_a_budget_that_cannot_be_is_refused(admin: Admin, change: dict[str, Any], field: str) -> None:
    api = await admin.operator()
    budget = Budget()
    budget.CopyFrom(BUDGET)
    for name in change:
        budget.ClearField(name)  # type: ignore[arg-type]
    budget.MergeFrom(Budget(**change))
    wrong = await refusal(api.CreateBudget(pb.CreateBudgetRequest(request_id=request_id(), budget=budget)))
    assert wrong.reason == "INVALID_REQUEST"
    assert field in {violation.field for violation in wrong.violations}


async def test_an_update_changes_what_its_mask_names_if_the_etag_is_current(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    team = Team(team_id=tenant.team.team_id, display_name="renamed", etag=tenant.team.etag)
    update = pb.UpdateTeamRequest(request_id=request_id(), team=team)
    assert [v.field for v in (await refusal(api.UpdateTeam(update))).violations] == ["update_mask"]
    update.update_mask.paths.append("organisation_id")
    assert [v.field for v in (await refusal(api.UpdateTeam(update))).violations] == ["update_mask"]
    update.update_mask.paths[:] = ["display_name"]
    renamed = (await api.UpdateTeam(update)).team
    assert (renamed.display_name, renamed.organisation_id) == ("renamed", tenant.team.organisation_id)
    assert renamed.etag != tenant.team.etag
    assert (await api.UpdateTeam(update)).team == renamed  # the same again
    update.request_id = request_id()
    assert (await refusal(api.UpdateTeam(update))).reason == "ETAG_MISMATCH"
    update.team.etag = "something"
    update.request_id = request_id()
    assert (await refusal(api.UpdateTeam(update))).reason == "ETAG_MISMATCH"


async def test_what_is_archived_takes_nothing_new_and_does_not_change(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    archive = pb.ArchiveProjectRequest(request_id=request_id(), project_id=tenant.project.project_id)
    archived = (await api.ArchiveProject(archive)).project
    assert archived.state == ENTITY_STATE_ARCHIVED
    archive.request_id = request_id()
    assert (await api.ArchiveProject(archive)).project == archived
    key = Key(project_id=tenant.project.project_id, display_name="late")
    late = await refusal(api.CreateKey(pb.CreateKeyRequest(request_id=request_id(), key=key)))
    assert late.reason == "PRECONDITION_FAILED"


async def test_a_pseudonym_is_unique_in_its_organisation(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    user = User(organisation_id=tenant.organisation.organisation_id, external_id="user-1")
    twice = await refusal(api.CreateUser(pb.CreateUserRequest(request_id=request_id(), user=user)))
    assert twice.reason == "ALREADY_EXISTS"
    user.external_id = "somebody@example.com"
    named = await refusal(api.CreateUser(pb.CreateUserRequest(request_id=request_id(), user=user)))
    assert [violation.field for violation in named.violations] == ["user.external_id"]


async def test_lists_come_in_pages_and_without_gaps(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    made = [tenant.team.team_id]
    for number in range(6):
        team = Team(organisation_id=tenant.organisation.organisation_id, display_name=f"{number}")
        answer = await api.CreateTeam(pb.CreateTeamRequest(request_id=request_id(), team=team))
        made.append(answer.team.team_id)
    request, seen = pb.ListTeamsRequest(page_size=3), []
    while True:
        page = await api.ListTeams(request)
        seen += [team.team_id for team in page.teams]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == made
    for token in ("nonsense", "WyJcdTAwMDAiXQ", "W10", "é"):
        wrong = await refusal(api.ListTeams(pb.ListTeamsRequest(page_token=token)))
        assert [violation.field for violation in wrong.violations] == ["page_token"]


async def test_a_request_that_comes_twenty_times_at_once_happens_once(admin: Admin) -> None:
    api = await admin.operator()
    request = pb.CreateOrganisationRequest(
        request_id=request_id(), organisation=Organisation(display_name="once")
    )
    answers = await asyncio.gather(*(api.CreateOrganisation(request) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert len((await api.ListOrganisations(pb.ListOrganisationsRequest())).organisations) == 1


async def test_the_trail_says_who_what_before_and_after_but_no_secret(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    await api.RotateKey(pb.RotateKeyRequest(request_id="rotate-1", key_id=tenant.key.key_id))
    records = (
        await api.ListAuditRecords(pb.ListAuditRecordsRequest(entity_id=tenant.key.key_id))
    ).audit_records
    assert [record.method for record in records] == ["RotateKey", "CreateKey"]
    rotated = records[0]
    tokens = (await api.ListAdminTokens(pb.ListAdminTokensRequest())).admin_tokens
    assert rotated.admin_token_id == tokens[0].admin_token_id
    assert rotated.change_request_id == "rotate-1"
    before, after = json.loads(rotated.before_json), json.loads(rotated.after_json)
    assert (before["version"], after["version"]) == (1, 2)
    assert "secret_hash" not in before
    assert tenant.key_secret not in str(records)


async def test_an_admin_token_ends_at_once(admin: Admin) -> None:
    api = await admin.operator()
    token = AdminToken(display_name="second", role=ROLE_OPERATOR)
    made = await api.CreateAdminToken(pb.CreateAdminTokenRequest(request_id=request_id(), admin_token=token))
    second = await admin.as_(made.secret)
    await second.ListTeams(pb.ListTeamsRequest())
    await api.RevokeAdminToken(
        pb.RevokeAdminTokenRequest(request_id=request_id(), admin_token_id=made.admin_token.admin_token_id)
    )
    assert (await refusal(second.ListTeams(pb.ListTeamsRequest()))).reason == "CREDENTIALS_REVOKED"
