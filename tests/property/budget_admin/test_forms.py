"""What is stored comes back as it was."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.budget.adapters.postgres.rows import from_json, from_row, to_json, to_row, to_trail
from services.budget.domain.budgets import Mode, ModelScopeKind, SubjectKind, Unit
from services.budget.domain.entities import EntityState, Key, KeyPermission
from services.budget.domain.limits import StoredBudget, WindowForm
from services.budget.domain.windows import Calendar, Fixed, Lifetime, Period, PerRequest, Rolling, Window
from services.kernel.ids import BudgetId, KeyId, OrganisationId, ProjectId, TeamId

moments = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))
windows: st.SearchStrategy[Window] = st.one_of(
    st.just(Lifetime()),
    st.just(PerRequest()),
    st.builds(
        Calendar,
        st.sampled_from([Period.WEEK, Period.MONTH, Period.YEAR]),
        st.sampled_from(["UTC", "Europe/Vienna", "Asia/Kathmandu"]),
        st.integers(min_value=1, max_value=7),
    ),
    st.builds(Fixed, st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=3660)), moments),
    st.builds(
        Rolling,
        st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=366)),
        st.integers(min_value=1, max_value=60),
    ),
)


@st.composite
def budgets(draw: st.DrawFn) -> StoredBudget:
    scope = draw(st.none() | st.sampled_from(ModelScopeKind))
    return StoredBudget(
        budget_id=BudgetId.new(),
        organisation_id=OrganisationId.new(),
        team_id=draw(st.none() | st.just(TeamId.new())),
        subject_kind=draw(st.sampled_from(SubjectKind)),
        subject_id="subject",
        scope_kind=scope,
        scope_name=None if scope is None else "a/b",
        unit=draw(st.sampled_from(Unit)),
        limit=draw(st.integers(min_value=0, max_value=2**62)),
        window=WindowForm.of(draw(windows)),
        counts_since=draw(moments),
        mode=draw(st.sampled_from(Mode)),
        alert_percents=tuple(draw(st.lists(st.integers(min_value=1, max_value=1000)))),
        display_name=draw(st.text(min_size=1, max_size=20)),
        state=draw(st.sampled_from(EntityState)),
        created_at=draw(moments),
    )


@st.composite
def keys(draw: st.DrawFn) -> Key:
    return Key(
        key_id=KeyId.new(),
        project_id=ProjectId.new(),
        team_id=TeamId.new(),
        organisation_id=OrganisationId.new(),
        display_name=draw(st.text(min_size=1, max_size=20)),
        secret_hash=draw(st.binary(min_size=32, max_size=32)),
        secret_prefix="tpk_secret",
        previous_secret_hash=draw(st.none() | st.binary(min_size=32, max_size=32)),
        permissions=tuple(draw(st.lists(st.sampled_from(KeyPermission), unique=True))),
        expires_at=draw(st.none() | moments),
        model_patterns=tuple(draw(st.lists(st.text(max_size=5), max_size=3))),
        created_at=draw(moments),
    )


@given(windows)
def test_a_window_has_one_form(window: Window) -> None:
    assert WindowForm.of(window).window() == window


@given(st.one_of(budgets(), keys()))
def test_an_entity_comes_back_from_json_and_from_a_row(entity: StoredBudget | Key) -> None:
    kind: type[StoredBudget | Key] = type(entity)
    assert from_json(to_json(entity), kind) == entity
    row = dict(zip(kind.__dataclass_fields__, to_row(entity), strict=True))
    assert from_row(row, kind) == entity


@given(keys())
def test_the_trail_has_no_hash_of_a_secret(key: Key) -> None:
    trail = to_trail(key)
    assert trail is not None
    assert "secret_hash" not in trail
