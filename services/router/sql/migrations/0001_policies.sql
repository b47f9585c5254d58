-- What admins set: policies in versions, model grants, aliases. One row says how often any of it was changed, so that a
-- replica sees with one look whether what it has in memory is still in force.

CREATE TABLE book (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    revision bigint NOT NULL
);
INSERT INTO book (revision) VALUES (0);

-- Every version of every policy, for ever.
CREATE TABLE policies (
    policy_id       text NOT NULL,
    version         integer NOT NULL CHECK (version > 0),
    organisation_id text NOT NULL,
    scope           text NOT NULL,
    document_yaml   text NOT NULL,
    state           text NOT NULL CHECK (state IN ('active', 'shadow', 'inactive')),
    comment         text NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (policy_id, version)
);

-- The newest version of each policy that was not deleted.
CREATE TABLE policy_heads (
    policy_id       text PRIMARY KEY,
    organisation_id text NOT NULL,
    scope           text NOT NULL,
    state           text NOT NULL,
    version         integer NOT NULL,
    FOREIGN KEY (policy_id, version) REFERENCES policies (policy_id, version)
);
CREATE INDEX policy_heads_by_organisation ON policy_heads (organisation_id, policy_id);
-- Two policies that decide for the same scope would make a riddle of it.
CREATE UNIQUE INDEX one_policy_decides ON policy_heads (scope, state) WHERE state <> 'inactive';

CREATE TABLE model_grants (
    grant_id        text PRIMARY KEY,
    organisation_id text NOT NULL,
    subject         text NOT NULL,
    model_pattern   text NOT NULL,
    deny            boolean NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL
);
CREATE INDEX model_grants_by_organisation ON model_grants (organisation_id, grant_id);

CREATE TABLE aliases (
    organisation_id text NOT NULL,
    alias           text NOT NULL,
    targets         jsonb NOT NULL,
    mirror_model    text NOT NULL,
    mirror_permille integer NOT NULL CHECK (mirror_permille BETWEEN 0 AND 1000),
    version         integer NOT NULL,
    PRIMARY KEY (organisation_id, alias)
);

-- The answer to every change by its caller's request id: the same again gets it, other content is refused.
CREATE TABLE admin_requests (
    admin_token_id text NOT NULL,
    request_id     text NOT NULL,
    content_hash   bytea NOT NULL,
    answer         jsonb NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (admin_token_id, request_id)
);

-- Who changed what; written in the transaction of the change, and only appended to.
CREATE TABLE audit_records (
    audit_id        text PRIMARY KEY,
    occurred_at     timestamptz NOT NULL,
    admin_token_id  text NOT NULL,
    method          text NOT NULL,
    entity_id       text NOT NULL,
    organisation_id text NOT NULL,
    before          jsonb,
    after           jsonb
);
CREATE INDEX audit_records_by_organisation ON audit_records (organisation_id, audit_id);

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only appended to', TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_records_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER policies_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON policies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
