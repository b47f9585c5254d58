-- Alerts, where they are sent, and how fast budgets are spent.
CREATE TABLE webhooks (
    webhook_id      text PRIMARY KEY,
    organisation_id text REFERENCES organisations,
    url             text NOT NULL,
    kinds           smallint[] NOT NULL,
    chain_heads     boolean NOT NULL,
    signing_secret  text NOT NULL,               -- signs what is sent; shown by the call that made it and never again
    created_at      timestamptz NOT NULL
);

CREATE TABLE alerts (
    alert_id        text PRIMARY KEY,
    kind            smallint NOT NULL,
    organisation_id text NOT NULL REFERENCES organisations,
    team_id         text,
    budget_id       text,
    percent         integer NOT NULL,
    message         text NOT NULL,
    occurred_at     timestamptz NOT NULL,
    ledger_sequence bigint NOT NULL,
    delivered_at    timestamptz,
    once            text NOT NULL UNIQUE         -- what it is about: the same thing is alerted once
);
CREATE INDEX alerts_by_organisation ON alerts (organisation_id, alert_id);

-- What is to be sent, at least once each; the body is exactly what is signed.
CREATE TABLE deliveries (
    delivery_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id   text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    alert_id     text REFERENCES alerts,         -- null: chain heads
    body         text NOT NULL,
    attempts     integer NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL
);
CREATE INDEX deliveries_by_time ON deliveries (due_at);

-- When chain heads were last exported.
CREATE TABLE chain_head_exports (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    exported_at timestamptz NOT NULL
);
INSERT INTO chain_head_exports (exported_at) VALUES (now());

-- What budgets had spent in their windows, about once a minute while it changes; kept for a day and a bit.
CREATE TABLE budget_samples (
    budget_id    text NOT NULL,
    at           timestamptz NOT NULL,
    window_start timestamptz NOT NULL,
    spent        bigint NOT NULL,
    PRIMARY KEY (budget_id, at)
);
CREATE INDEX budget_samples_by_time ON budget_samples (at);
