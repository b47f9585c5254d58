-- Budgets as they are administered. The owner reads them with their overrides and transfers when it claims a tree; every
-- change here goes through a change of the tree's epoch, in the same transaction, so that no owner decides by old limits.
CREATE TABLE budgets (
    budget_id       text PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations,
    team_id         text,
    subject_kind    text NOT NULL CHECK (subject_kind IN ('organisation', 'team', 'project', 'key', 'user')),
    subject_id      text NOT NULL,
    scope_kind      text CHECK (scope_kind IN ('model', 'group', 'provider')),
    scope_name      text,
    unit            smallint NOT NULL CHECK (unit BETWEEN 1 AND 4),
    "limit"         bigint NOT NULL CHECK ("limit" >= 0),
    "window"        jsonb NOT NULL,
    counts_since    timestamptz NOT NULL,
    mode            smallint NOT NULL CHECK (mode BETWEEN 1 AND 3),
    alert_percents  integer[] NOT NULL,
    display_name    text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    version         bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    FOREIGN KEY (organisation_id, team_id) REFERENCES teams (organisation_id, team_id),
    CHECK ((scope_kind IS NULL) = (scope_name IS NULL))
);
CREATE INDEX budgets_by_organisation ON budgets (organisation_id, budget_id);
CREATE INDEX budgets_by_subject ON budgets (subject_id);

CREATE TABLE budget_overrides (
    override_id     text PRIMARY KEY,
    budget_id       text NOT NULL REFERENCES budgets,
    organisation_id text NOT NULL,
    team_id         text,
    "limit"         bigint NOT NULL CHECK ("limit" >= 0),
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    reason          text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    CHECK (ends_at > starts_at)
);
CREATE INDEX budget_overrides_by_budget ON budget_overrides (budget_id, override_id);

-- What was added to (or, negative, taken from) a budget's limit of the window that `moved_at` lies in. Two rows a transfer.
CREATE TABLE budget_transfers (
    budget_id       text NOT NULL REFERENCES budgets,
    organisation_id text NOT NULL,
    counterpart_id  text NOT NULL REFERENCES budgets,
    moved_at        timestamptz NOT NULL,
    amount          bigint NOT NULL CHECK (amount <> 0),
    reason          text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    created_by      text NOT NULL,
    request_id      text NOT NULL,
    PRIMARY KEY (budget_id, created_by, request_id)
);

CREATE TABLE limit_raises (
    limit_raise_id  text PRIMARY KEY,
    budget_id       text NOT NULL REFERENCES budgets,
    organisation_id text NOT NULL,
    team_id         text,
    "limit"         bigint NOT NULL CHECK ("limit" >= 0),
    ends_at         timestamptz,
    reason          text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    created_by      text NOT NULL,
    answered_by     text,
    answer          text NOT NULL,
    created_at      timestamptz NOT NULL
);
CREATE INDEX limit_raises_by_organisation ON limit_raises (organisation_id, limit_raise_id);
