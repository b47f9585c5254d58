-- Lock order: the book first (every change takes it), then what is changed.

-- name: book_revision
-- How often anything was changed; what replicas look at twice a second.
SELECT revision FROM book;

-- name: lock_book
-- Begins a change: one at a time, in the order of revisions.
UPDATE book SET revision = revision + 1 RETURNING revision;

-- name: load_policies
-- Every policy that acts, in its newest version.
SELECT p.policy_id, p.organisation_id, p.scope, p.version, p.document_yaml, p.state, p.comment, p.created_by, p.created_at
FROM policy_heads h JOIN policies p ON p.policy_id = h.policy_id AND p.version = h.version
WHERE h.state <> 'inactive';

-- name: load_grants
-- Every grant.
SELECT grant_id, organisation_id, subject, model_pattern, deny, created_by, created_at FROM model_grants ORDER BY grant_id;

-- name: load_aliases
-- Every alias.
SELECT organisation_id, alias, targets, mirror_model, mirror_permille, version FROM aliases;

-- name: find_answer
-- What was answered to a change with this request id.
SELECT content_hash, answer FROM admin_requests WHERE admin_token_id = $1 AND request_id = $2;

-- name: keep_answer
-- Keeps the answer to a change.
INSERT INTO admin_requests (admin_token_id, request_id, content_hash, answer, created_at) VALUES ($1, $2, $3, $4, $5);

-- name: add_audit
-- Appends to the audit trail.
INSERT INTO audit_records (audit_id, occurred_at, admin_token_id, method, entity_id, organisation_id, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: find_policy
-- A policy in its newest version, deleted ones left out.
SELECT p.policy_id, p.organisation_id, p.scope, p.version, p.document_yaml, p.state, p.comment, p.created_by, p.created_at
FROM policy_heads h JOIN policies p ON p.policy_id = h.policy_id AND p.version = h.version
WHERE h.policy_id = $1;

-- name: find_policy_version
-- One version of a policy.
SELECT policy_id, organisation_id, scope, version, document_yaml, state, comment, created_by, created_at
FROM policies WHERE policy_id = $1 AND version = $2;

-- name: last_version
-- The newest version a policy ever had, also if it was deleted; null: there is none.
SELECT max(version) FROM policies WHERE policy_id = $1;

-- name: add_policy_version
-- A new version; it is put in force by `put_policy_head`.
INSERT INTO policies
    (policy_id, organisation_id, scope, version, document_yaml, state, comment, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: put_policy_head
-- Puts a version in force.
INSERT INTO policy_heads (policy_id, organisation_id, scope, state, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (policy_id) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version;

-- name: remove_policy_head
-- Takes a policy out of force; its versions stay.
DELETE FROM policy_heads WHERE policy_id = $1;

-- name: list_policies
-- A page of an organisation's policies in their newest versions, by id.
SELECT p.policy_id, p.organisation_id, p.scope, p.version, p.document_yaml, p.state, p.comment, p.created_by, p.created_at
FROM policy_heads h JOIN policies p ON p.policy_id = h.policy_id AND p.version = h.version
WHERE h.organisation_id = $1 AND h.policy_id > $2 ORDER BY h.policy_id LIMIT $3;

-- name: list_policy_versions
-- A page of a policy's versions, newest first, below version $2.
SELECT policy_id, organisation_id, scope, version, document_yaml, state, comment, created_by, created_at
FROM policies WHERE policy_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3;

-- name: add_grant
-- A new grant.
INSERT INTO model_grants (grant_id, organisation_id, subject, model_pattern, deny, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: find_grant
-- A grant.
SELECT grant_id, organisation_id, subject, model_pattern, deny, created_by, created_at FROM model_grants WHERE grant_id = $1;

-- name: remove_grant
-- Takes a grant back.
DELETE FROM model_grants WHERE grant_id = $1;

-- name: list_grants
-- A page of an organisation's grants, by id; only of subject $2 unless that is empty.
SELECT grant_id, organisation_id, subject, model_pattern, deny, created_by, created_at FROM model_grants
WHERE organisation_id = $1 AND ($2 = '' OR subject = $2) AND grant_id > $3 ORDER BY grant_id LIMIT $4;

-- name: find_alias
-- An alias.
SELECT organisation_id, alias, targets, mirror_model, mirror_permille, version FROM aliases
WHERE organisation_id = $1 AND alias = $2;

-- name: put_alias
-- Writes an alias, new or changed.
INSERT INTO aliases (organisation_id, alias, targets, mirror_model, mirror_permille, version)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organisation_id, alias) DO UPDATE SET
    targets = EXCLUDED.targets, mirror_model = EXCLUDED.mirror_model,
    mirror_permille = EXCLUDED.mirror_permille, version = EXCLUDED.version;

-- name: remove_alias
-- Removes an alias.
DELETE FROM aliases WHERE organisation_id = $1 AND alias = $2;

-- name: list_aliases
-- A page of an organisation's aliases, by name.
SELECT organisation_id, alias, targets, mirror_model, mirror_permille, version FROM aliases
WHERE organisation_id = $1 AND alias > $2 ORDER BY alias LIMIT $3;

-- name: prior_in_force
-- The version in force; what replicas look at twice a second.
SELECT version FROM prior_in_force;

-- name: find_prior
-- A prior that was in force before, without its content.
SELECT version, findings, promoted_by, promoted_at FROM priors WHERE version = $1;

-- name: prior_content
-- A prior's file.
SELECT content FROM priors WHERE version = $1;

-- name: add_prior
-- Keeps a prior; of the same content the first stays.
INSERT INTO priors (version, content, findings, promoted_by, promoted_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (version) DO NOTHING;

-- name: put_prior_in_force
-- Puts a prior in force.
UPDATE prior_in_force SET version = $1;

-- name: list_audit
-- A page of the audit trail, newest first, before $3; only of entity $2 unless that is empty.
SELECT audit_id, occurred_at, admin_token_id, method, entity_id, organisation_id, before, after FROM audit_records
WHERE organisation_id = $1 AND ($2 = '' OR entity_id = $2) AND audit_id < $3 ORDER BY audit_id DESC LIMIT $4;

-- name: add_request
-- Keeps what a request led to; the first word stands.
INSERT INTO requests (organisation_id, request_id, content_hash, decision_id, cost_nanos, answer, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING;

-- name: find_request
-- What a request led to.
SELECT content_hash, decision_id, cost_nanos, answer FROM requests WHERE organisation_id = $1 AND request_id = $2;

-- name: forget_requests
-- Forgets requests whose time is over, at most $2 at a time.
DELETE FROM requests WHERE (organisation_id, request_id) IN (
    SELECT organisation_id, request_id FROM requests WHERE expires_at < $1 LIMIT $2
);

-- name: lock_feedback
-- One at a time, so that sequences become visible in their order.
SELECT pg_advisory_xact_lock(hashtext('turnpike.router.feedback'));

-- name: add_feedback
-- Keeps one verdict; of the same id the first one stands.
INSERT INTO feedback
    (organisation_id, feedback_id, content_hash, decision_id, model, belief, expected, outcome, weight, prior)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (organisation_id, feedback_id) DO NOTHING;

-- name: find_feedback
-- The content of a verdict that was given under an id.
SELECT content_hash FROM feedback WHERE organisation_id = $1 AND feedback_id = $2;

-- name: last_feedback
-- The sequence before the newest $1 verdicts under prior $2: where a replica that starts begins to learn.
SELECT coalesce(min(sequence), 1) - 1
FROM (SELECT sequence FROM feedback WHERE prior = $2 ORDER BY sequence DESC LIMIT $1) AS newest;

-- name: feedback_after
-- Verdicts on answers under prior $3 after a sequence, in order.
SELECT sequence, organisation_id, model, belief, expected, outcome, weight, prior FROM feedback
WHERE sequence > $1 AND prior = $3 ORDER BY sequence LIMIT $2;

-- name: newest_feedback
-- The newest verdicts under any prior: what a new one is held against.
SELECT organisation_id, model, belief, expected, outcome, weight, prior FROM feedback ORDER BY sequence DESC LIMIT $1;
