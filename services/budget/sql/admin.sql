-- What every admin change writes beside its entity, and who may make one.

-- name: lock_request
-- One call at a time of an admin's request id: the lock goes with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0));

-- name: find_request
-- What an admin's request id was used for, and its answer.
SELECT method, content_hash, answer FROM admin_requests WHERE admin_token_id = $1 AND request_id = $2;

-- name: insert_request
-- Keeps the answer to a change.
INSERT INTO admin_requests (admin_token_id, request_id, method, content_hash, answer, created_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6);

-- name: trim_requests
-- Forgets answers to changes before $1, at most a thousand: a minute later comes the next lot.
DELETE FROM admin_requests WHERE (admin_token_id, request_id) IN (
    SELECT admin_token_id, request_id FROM admin_requests WHERE created_at < $1 ORDER BY created_at LIMIT 1000);

-- name: insert_audit_record
-- Writes to the audit trail.
INSERT INTO audit_records (
    audit_id, occurred_at, admin_token_id, method, entity_id, organisation_id, team_id, before, after,
    change_request_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, $10);

-- name: select_audit_records
-- A page of the trail: of organisation $1, team $2, entity $3, newest first, before $4; at most $5.
SELECT
    audit_id, occurred_at, admin_token_id, method, entity_id, organisation_id, team_id, before, after,
    change_request_id
FROM audit_records
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR entity_id = $3)
    AND ($4 = '' OR audit_id < $4)
ORDER BY audit_id DESC
LIMIT $5;

-- name: find_admin_token_by_secret
-- An admin token by the hash of its secret, with the state of its organisation.
SELECT
    admin_tokens.admin_token_id, admin_tokens.display_name, admin_tokens.role, admin_tokens.organisation_id,
    admin_tokens.team_id, admin_tokens.secret_hash, admin_tokens.secret_prefix, admin_tokens.state,
    admin_tokens.expires_at, admin_tokens.version, admin_tokens.created_at,
    organisations.state AS organisation_state
FROM admin_tokens LEFT JOIN organisations USING (organisation_id)
WHERE secret_hash = $1;

-- name: lock_bootstrap
-- One replica at a time looks whether there is an operator yet.
SELECT pg_advisory_xact_lock(7205759403);

-- name: any_admin_token
-- Whether anybody can administer.
SELECT EXISTS (SELECT FROM admin_tokens);

-- name: insert_transfer
-- One half of a transfer: what it does to one budget's limit of the window that $4 lies in.
INSERT INTO budget_transfers (
    budget_id, organisation_id, counterpart_id, moved_at, amount, reason, created_by, request_id
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
