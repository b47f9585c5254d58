-- What the ledger's tail says was consumed, its sums by quarters of an hour, and the routers' decision records.

CREATE TABLE usage_entry (
    organisation_id   text        NOT NULL,
    sequence          bigint      NOT NULL,
    occurred_at       timestamptz NOT NULL,
    kind              text        NOT NULL,
    request_id        text        NOT NULL,
    attempt           integer     NOT NULL,
    team_id           text        NOT NULL,
    project_id        text        NOT NULL,
    key_id            text        NOT NULL,
    user_id           text        NOT NULL,
    model             text        NOT NULL,
    outcome           text        NOT NULL,
    endpoint_id       text        NOT NULL,
    cost_nanos        bigint      NOT NULL,
    overage_nanos     bigint      NOT NULL,
    unconfirmed_nanos bigint      NOT NULL,
    input_tokens      bigint,
    output_tokens     bigint,
    cache_read_tokens bigint,
    reasoning_tokens  bigint,
    dimensions        jsonb       NOT NULL,
    PRIMARY KEY (organisation_id, sequence)
);
CREATE INDEX usage_entry_by_time ON usage_entry (organisation_id, occurred_at, sequence);

-- How far each organisation's ledger has been read; moves in the transaction that stores what was read.
CREATE TABLE ledger_position (
    organisation_id text PRIMARY KEY,
    sequence        bigint      NOT NULL,
    occurred_at     timestamptz NOT NULL
);

CREATE TABLE usage_rollup (
    organisation_id   text        NOT NULL,
    start             timestamptz NOT NULL,
    team_id           text        NOT NULL,
    project_id        text        NOT NULL,
    key_id            text        NOT NULL,
    user_id           text        NOT NULL,
    model             text        NOT NULL,
    outcome           text        NOT NULL,
    cost_nanos        numeric     NOT NULL,
    attempts          bigint      NOT NULL,
    requests          bigint      NOT NULL,
    input_tokens      numeric     NOT NULL,
    output_tokens     numeric     NOT NULL,
    cache_read_tokens numeric     NOT NULL,
    reasoning_tokens  numeric     NOT NULL,
    unconfirmed_nanos numeric     NOT NULL,
    overage_nanos     numeric     NOT NULL,
    failed            bigint      NOT NULL,
    PRIMARY KEY (organisation_id, start, team_id, project_id, key_id, user_id, model, outcome)
) WITH (fillfactor = 50);  -- rows of the current quarter are updated with every batch

CREATE TABLE decision (
    organisation_id text        NOT NULL,
    decision_id     text        NOT NULL,
    request_id      text        NOT NULL,
    decided_at      timestamptz NOT NULL,
    team_id         text        NOT NULL,
    project_id      text        NOT NULL,
    key_id          text        NOT NULL,
    user_id         text        NOT NULL,
    model           text        NOT NULL,
    task            text        NOT NULL,
    failed          boolean     NOT NULL,
    attempts        integer     NOT NULL,
    record          bytea       NOT NULL,  -- turnpike.router.v1.Decision
    PRIMARY KEY (organisation_id, decision_id)
);
CREATE INDEX decision_by_time ON decision (organisation_id, decided_at DESC, decision_id DESC);
CREATE INDEX decision_by_request ON decision (organisation_id, request_id, decided_at DESC);
