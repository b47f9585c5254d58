-- What admins did. Both are written in the transaction of the change itself.

-- The answer to every admin change by its caller's request id: the same again gets it, other content is refused.
CREATE TABLE admin_requests (
    admin_token_id text NOT NULL,
    request_id     text NOT NULL,
    method         text NOT NULL,
    content_hash   bytea NOT NULL,
    answer         jsonb NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (admin_token_id, request_id)
);

-- The audit trail: appended to, never changed. Secrets and their hashes are not in it.
CREATE TABLE audit_records (
    audit_id          text PRIMARY KEY,
    occurred_at       timestamptz NOT NULL,
    admin_token_id    text NOT NULL,
    method            text NOT NULL,
    entity_id         text NOT NULL,
    organisation_id   text,
    team_id           text,
    before            jsonb,
    after             jsonb,
    change_request_id text NOT NULL
);
CREATE INDEX audit_records_by_organisation ON audit_records (organisation_id, audit_id);
CREATE INDEX audit_records_by_entity ON audit_records (entity_id, audit_id);

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only appended to', TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_records_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
