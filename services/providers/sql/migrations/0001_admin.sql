-- What admins set: credentials, endpoints, facts of models. One row says how often any of it was changed, so that a
-- replica sees with one look whether what it has in memory is still in force.

CREATE TABLE book (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    revision bigint NOT NULL
);
INSERT INTO book (revision) VALUES (0);

-- Vendors' secrets, sealed by a key that is not in the database.
CREATE TABLE credentials (
    credential_id   text PRIMARY KEY,
    provider        text NOT NULL,
    organisation_id text NOT NULL,
    display_name    text NOT NULL,
    sealed          bytea NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL
);

-- turnpike.providers.v1.EndpointConfig, as it is on the wire.
CREATE TABLE endpoints (
    endpoint_id text PRIMARY KEY,
    config      bytea NOT NULL,
    version     bigint NOT NULL CHECK (version > 0)
);

-- Facts that stand for the catalogue's, for all organisations (empty) or for one: a Model and which of its facts count.
CREATE TABLE model_overrides (
    model           text NOT NULL,
    organisation_id text NOT NULL,
    facts           bytea NOT NULL,
    paths           text[] NOT NULL,
    PRIMARY KEY (model, organisation_id)
);

-- Answers to changes, so that the same request again gets the same answer. They hold no secrets.
CREATE TABLE admin_requests (
    admin_token_id text NOT NULL,
    request_id     text NOT NULL,
    content_hash   bytea NOT NULL,
    answer         bytea NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (admin_token_id, request_id)
);

-- Who changed what. Never a secret.
CREATE TABLE audit_records (
    sequence       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at    timestamptz NOT NULL,
    admin_token_id text NOT NULL,
    action         text NOT NULL,
    entity_id      text NOT NULL
);
