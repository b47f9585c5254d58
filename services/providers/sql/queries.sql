-- Lock order: the book first (every change takes it), then what is changed.

-- name: book_revision
-- How often anything was changed; what replicas look at once a second.
SELECT revision FROM book;

-- name: lock_book
-- Begins a change: one at a time, in the order of revisions.
UPDATE book SET revision = revision + 1 RETURNING revision;

-- name: load_credentials
-- Every credential, sealed.
SELECT credential_id, provider, organisation_id, display_name, sealed, created_at FROM credentials ORDER BY credential_id;

-- name: load_endpoints
-- Every endpoint.
SELECT endpoint_id, config, version FROM endpoints ORDER BY endpoint_id;

-- name: load_overrides
-- Every override.
SELECT model, organisation_id, facts, paths FROM model_overrides ORDER BY model, organisation_id;

-- name: find_answer
-- What was answered to a change with this request id.
SELECT content_hash, answer FROM admin_requests WHERE admin_token_id = $1 AND request_id = $2;

-- name: keep_answer
-- Keeps the answer to a change.
INSERT INTO admin_requests (admin_token_id, request_id, content_hash, answer, created_at) VALUES ($1, $2, $3, $4, $5);

-- name: add_audit
-- Appends to the audit trail.
INSERT INTO audit_records (occurred_at, admin_token_id, action, entity_id) VALUES ($1, $2, $3, $4);

-- name: add_credential
-- A new credential.
INSERT INTO credentials (credential_id, provider, organisation_id, display_name, sealed, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: delete_credential
-- Removes a credential.
DELETE FROM credentials WHERE credential_id = $1;

-- name: add_endpoint
-- A new endpoint; nothing is returned if its id is taken.
INSERT INTO endpoints (endpoint_id, config, version) VALUES ($1, $2, 1) ON CONFLICT DO NOTHING RETURNING version;

-- name: find_endpoint
-- One endpoint.
SELECT config, version FROM endpoints WHERE endpoint_id = $1;

-- name: change_endpoint
-- Replaces an endpoint's configuration.
UPDATE endpoints SET config = $2, version = version + 1 WHERE endpoint_id = $1 RETURNING version;

-- name: delete_endpoint
-- Removes an endpoint.
DELETE FROM endpoints WHERE endpoint_id = $1;

-- name: find_override
-- The override of a model for an organisation, or for all.
SELECT facts, paths FROM model_overrides WHERE model = $1 AND organisation_id = $2;

-- name: put_override
-- Makes an override, or replaces it.
INSERT INTO model_overrides (model, organisation_id, facts, paths) VALUES ($1, $2, $3, $4)
ON CONFLICT (model, organisation_id) DO UPDATE SET facts = EXCLUDED.facts, paths = EXCLUDED.paths;

-- name: delete_override
-- Takes an override back.
DELETE FROM model_overrides WHERE model = $1 AND organisation_id = $2;
