-- What routers must hear of. The head's row is locked by each change until it commits, so revisions become visible in
-- their order and a reader that knows revision n has missed nothing before it.
CREATE TABLE directory_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO directory_head (revision) VALUES (1);

CREATE TABLE directory_changes (
    revision            bigint NOT NULL,
    position            integer NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('organisation', 'team', 'project', 'user', 'key', 'price')),
    entity_id           text NOT NULL,
    removed_secret_hash bytea,
    PRIMARY KEY (revision, position)
);

-- The price book: appended to. For a model and an organisation the row in force at a time is the one with the latest
-- effective_from not after it, of these the one with the highest revision; an organisation's own comes before the list.
CREATE TABLE price_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO price_head (revision) VALUES (0);

CREATE TABLE prices (
    price_id        text PRIMARY KEY,
    organisation_id text REFERENCES organisations,
    model           text NOT NULL,
    effective_from  timestamptz NOT NULL,
    effective_until timestamptz,
    tiers           jsonb NOT NULL,
    currency_code   text NOT NULL CHECK (currency_code = 'USD'),
    source          text NOT NULL,
    revision        bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    CHECK (effective_until IS NULL OR effective_until > effective_from)
);
CREATE INDEX prices_by_model ON prices (model, organisation_id, effective_from DESC, revision DESC);
