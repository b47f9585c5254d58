-- Requests whose callers chose an id, so that the same again is told what became of it and no vendor is called twice.
-- The claim itself is the hold at the budget service; this is what it led to.
CREATE TABLE requests (
    organisation_id text NOT NULL,
    request_id      text NOT NULL,
    content_hash    bytea NOT NULL,
    decision_id     text NOT NULL,
    cost_nanos      bigint,
    answer          bytea,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (organisation_id, request_id)
);
CREATE INDEX requests_by_end ON requests (expires_at);
