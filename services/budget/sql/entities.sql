-- Entities: for each kind the same five statements. Columns and parameters are the fields of its dataclass, in order.
-- Lists are pages by key: after the id $5, in the order of ids, which is that of making.

-- name: insert_organisation
-- Keeps a new organisation.
INSERT INTO organisations (
    organisation_id, display_name, state, time_zone, discount_ppm, data_class, unknown_price_policy, version,
    created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9
);

-- name: update_organisation
-- Keeps an organisation as it is now.
UPDATE organisations SET
    display_name = $2, state = $3, time_zone = $4, discount_ppm = $5, data_class = $6,
    unknown_price_policy = $7, version = $8, created_at = $9
WHERE organisation_id = $1;

-- name: find_organisation
-- An organisation by its id.
SELECT
    organisation_id, display_name, state, time_zone, discount_ppm, data_class, unknown_price_policy, version,
    created_at
FROM organisations WHERE organisation_id = $1;

-- name: lock_organisation
-- An organisation by its id; nobody else changes it until this transaction ends.
SELECT
    organisation_id, display_name, state, time_zone, discount_ppm, data_class, unknown_price_policy, version,
    created_at
FROM organisations WHERE organisation_id = $1 FOR UPDATE;

-- name: select_organisation
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    organisation_id, display_name, state, time_zone, discount_ppm, data_class, unknown_price_policy, version,
    created_at
FROM organisations
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND $2::text IS NULL
    AND $3::text IS NULL
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND organisation_id > $5
ORDER BY organisation_id
LIMIT $7;

-- name: insert_team
-- Keeps a new team.
INSERT INTO teams (
    team_id, organisation_id, display_name, state, version, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6
);

-- name: update_team
-- Keeps a team as it is now.
UPDATE teams SET
    organisation_id = $2, display_name = $3, state = $4, version = $5, created_at = $6
WHERE team_id = $1;

-- name: find_team
-- A team by its id.
SELECT
    team_id, organisation_id, display_name, state, version, created_at
FROM teams WHERE team_id = $1;

-- name: lock_team
-- A team by its id; nobody else changes it until this transaction ends.
SELECT
    team_id, organisation_id, display_name, state, version, created_at
FROM teams WHERE team_id = $1 FOR UPDATE;

-- name: select_team
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    team_id, organisation_id, display_name, state, version, created_at
FROM teams
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND $3::text IS NULL
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND team_id > $5
ORDER BY team_id
LIMIT $7;

-- name: insert_project
-- Keeps a new project.
INSERT INTO projects (
    project_id, team_id, organisation_id, display_name, state, data_class, capture_content, version, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9
);

-- name: update_project
-- Keeps a project as it is now.
UPDATE projects SET
    team_id = $2, organisation_id = $3, display_name = $4, state = $5, data_class = $6, capture_content = $7,
    version = $8, created_at = $9
WHERE project_id = $1;

-- name: find_project
-- A project by its id.
SELECT
    project_id, team_id, organisation_id, display_name, state, data_class, capture_content, version, created_at
FROM projects WHERE project_id = $1;

-- name: lock_project
-- A project by its id; nobody else changes it until this transaction ends.
SELECT
    project_id, team_id, organisation_id, display_name, state, data_class, capture_content, version, created_at
FROM projects WHERE project_id = $1 FOR UPDATE;

-- name: select_project
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    project_id, team_id, organisation_id, display_name, state, data_class, capture_content, version, created_at
FROM projects
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR team_id = $3)
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND project_id > $5
ORDER BY project_id
LIMIT $7;

-- name: insert_user
-- Keeps a new user.
INSERT INTO users (
    user_id, organisation_id, external_id, state, version, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6
);

-- name: update_user
-- Keeps a user as it is now.
UPDATE users SET
    organisation_id = $2, external_id = $3, state = $4, version = $5, created_at = $6
WHERE user_id = $1;

-- name: find_user
-- A user by its id.
SELECT
    user_id, organisation_id, external_id, state, version, created_at
FROM users WHERE user_id = $1;

-- name: lock_user
-- A user by its id; nobody else changes it until this transaction ends.
SELECT
    user_id, organisation_id, external_id, state, version, created_at
FROM users WHERE user_id = $1 FOR UPDATE;

-- name: select_user
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    user_id, organisation_id, external_id, state, version, created_at
FROM users
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND $2::text IS NULL
    AND $3::text IS NULL
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND user_id > $5
ORDER BY user_id
LIMIT $7;

-- name: insert_key
-- Keeps a new key.
INSERT INTO keys (
    key_id, project_id, team_id, organisation_id, user_id, display_name, secret_hash, secret_prefix,
    previous_secret_hash, previous_secret_expires_at, state, permissions, expires_at, model_patterns, version,
    created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
);

-- name: update_key
-- Keeps a key as it is now.
UPDATE keys SET
    project_id = $2, team_id = $3, organisation_id = $4, user_id = $5, display_name = $6, secret_hash = $7,
    secret_prefix = $8, previous_secret_hash = $9, previous_secret_expires_at = $10, state = $11,
    permissions = $12, expires_at = $13, model_patterns = $14, version = $15, created_at = $16
WHERE key_id = $1;

-- name: find_key
-- A key by its id.
SELECT
    key_id, project_id, team_id, organisation_id, user_id, display_name, secret_hash, secret_prefix,
    previous_secret_hash, previous_secret_expires_at, state, permissions, expires_at, model_patterns, version,
    created_at
FROM keys WHERE key_id = $1;

-- name: lock_key
-- A key by its id; nobody else changes it until this transaction ends.
SELECT
    key_id, project_id, team_id, organisation_id, user_id, display_name, secret_hash, secret_prefix,
    previous_secret_hash, previous_secret_expires_at, state, permissions, expires_at, model_patterns, version,
    created_at
FROM keys WHERE key_id = $1 FOR UPDATE;

-- name: select_key
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    key_id, project_id, team_id, organisation_id, user_id, display_name, secret_hash, secret_prefix,
    previous_secret_hash, previous_secret_expires_at, state, permissions, expires_at, model_patterns, version,
    created_at
FROM keys
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR project_id = $3)
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND key_id > $5
ORDER BY key_id
LIMIT $7;

-- name: insert_admin_token
-- Keeps a new admin token.
INSERT INTO admin_tokens (
    admin_token_id, display_name, role, organisation_id, team_id, secret_hash, secret_prefix, state, expires_at,
    version, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
);

-- name: update_admin_token
-- Keeps an admin token as it is now.
UPDATE admin_tokens SET
    display_name = $2, role = $3, organisation_id = $4, team_id = $5, secret_hash = $6, secret_prefix = $7,
    state = $8, expires_at = $9, version = $10, created_at = $11
WHERE admin_token_id = $1;

-- name: find_admin_token
-- An admin token by its id.
SELECT
    admin_token_id, display_name, role, organisation_id, team_id, secret_hash, secret_prefix, state, expires_at,
    version, created_at
FROM admin_tokens WHERE admin_token_id = $1;

-- name: lock_admin_token
-- An admin token by its id; nobody else changes it until this transaction ends.
SELECT
    admin_token_id, display_name, role, organisation_id, team_id, secret_hash, secret_prefix, state, expires_at,
    version, created_at
FROM admin_tokens WHERE admin_token_id = $1 FOR UPDATE;

-- name: select_admin_token
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    admin_token_id, display_name, role, organisation_id, team_id, secret_hash, secret_prefix, state, expires_at,
    version, created_at
FROM admin_tokens
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND $3::text IS NULL
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND admin_token_id > $5
ORDER BY admin_token_id
LIMIT $7;

-- name: insert_budget
-- Keeps a new budget.
INSERT INTO budgets (
    budget_id, organisation_id, team_id, subject_kind, subject_id, scope_kind, scope_name, unit, "limit",
    "window", counts_since, mode, alert_percents, display_name, state, version, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, $14, $15, $16, $17
);

-- name: update_budget
-- Keeps a budget as it is now.
UPDATE budgets SET
    organisation_id = $2, team_id = $3, subject_kind = $4, subject_id = $5, scope_kind = $6, scope_name = $7,
    unit = $8, "limit" = $9, "window" = $10::jsonb, counts_since = $11, mode = $12, alert_percents = $13,
    display_name = $14, state = $15, version = $16, created_at = $17
WHERE budget_id = $1;

-- name: find_budget
-- A budget by its id.
SELECT
    budget_id, organisation_id, team_id, subject_kind, subject_id, scope_kind, scope_name, unit, "limit",
    "window", counts_since, mode, alert_percents, display_name, state, version, created_at
FROM budgets WHERE budget_id = $1;

-- name: lock_budget
-- A budget by its id; nobody else changes it until this transaction ends.
SELECT
    budget_id, organisation_id, team_id, subject_kind, subject_id, scope_kind, scope_name, unit, "limit",
    "window", counts_since, mode, alert_percents, display_name, state, version, created_at
FROM budgets WHERE budget_id = $1 FOR UPDATE;

-- name: select_budget
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    budget_id, organisation_id, team_id, subject_kind, subject_id, scope_kind, scope_name, unit, "limit",
    "window", counts_since, mode, alert_percents, display_name, state, version, created_at
FROM budgets
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR subject_id = $3)
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR state <> 3)
    AND budget_id > $5
ORDER BY budget_id
LIMIT $7;

-- name: insert_override
-- Keeps a new override.
INSERT INTO budget_overrides (
    override_id, budget_id, organisation_id, team_id, "limit", starts_at, ends_at, reason, created_by,
    created_at, revoked_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
);

-- name: update_override
-- Keeps an override as it is now.
UPDATE budget_overrides SET
    budget_id = $2, organisation_id = $3, team_id = $4, "limit" = $5, starts_at = $6, ends_at = $7, reason = $8,
    created_by = $9, created_at = $10, revoked_at = $11
WHERE override_id = $1;

-- name: find_override
-- An override by its id.
SELECT
    override_id, budget_id, organisation_id, team_id, "limit", starts_at, ends_at, reason, created_by,
    created_at, revoked_at
FROM budget_overrides WHERE override_id = $1;

-- name: lock_override
-- An override by its id; nobody else changes it until this transaction ends.
SELECT
    override_id, budget_id, organisation_id, team_id, "limit", starts_at, ends_at, reason, created_by,
    created_at, revoked_at
FROM budget_overrides WHERE override_id = $1 FOR UPDATE;

-- name: select_override
-- A page: of organisation $1, team $2, parent $3, state $4, newest first, before $5, archived ones too if $6; at most $7.
SELECT
    override_id, budget_id, organisation_id, team_id, "limit", starts_at, ends_at, reason, created_by,
    created_at, revoked_at
FROM budget_overrides
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR budget_id = $3)
    AND $4::smallint IS NULL AND ($6 OR true)
    AND ($5 = '' OR override_id < $5)
ORDER BY override_id DESC
LIMIT $7;

-- name: insert_limit_raise
-- Keeps a new limit raise.
INSERT INTO limit_raises (
    limit_raise_id, budget_id, organisation_id, team_id, "limit", ends_at, reason, state, created_by,
    answered_by, answer, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
);

-- name: update_limit_raise
-- Keeps a limit raise as it is now.
UPDATE limit_raises SET
    budget_id = $2, organisation_id = $3, team_id = $4, "limit" = $5, ends_at = $6, reason = $7, state = $8,
    created_by = $9, answered_by = $10, answer = $11, created_at = $12
WHERE limit_raise_id = $1;

-- name: find_limit_raise
-- A limit raise by its id.
SELECT
    limit_raise_id, budget_id, organisation_id, team_id, "limit", ends_at, reason, state, created_by,
    answered_by, answer, created_at
FROM limit_raises WHERE limit_raise_id = $1;

-- name: lock_limit_raise
-- A limit raise by its id; nobody else changes it until this transaction ends.
SELECT
    limit_raise_id, budget_id, organisation_id, team_id, "limit", ends_at, reason, state, created_by,
    answered_by, answer, created_at
FROM limit_raises WHERE limit_raise_id = $1 FOR UPDATE;

-- name: select_limit_raise
-- A page: of organisation $1, team $2, parent $3, state $4, newest first, before $5, archived ones too if $6; at most $7.
SELECT
    limit_raise_id, budget_id, organisation_id, team_id, "limit", ends_at, reason, state, created_by,
    answered_by, answer, created_at
FROM limit_raises
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR budget_id = $3)
    AND ($4::smallint IS NULL OR state = $4) AND ($6 OR true)
    AND ($5 = '' OR limit_raise_id < $5)
ORDER BY limit_raise_id DESC
LIMIT $7;

-- name: insert_webhook
-- Keeps a new webhook.
INSERT INTO webhooks (
    webhook_id, organisation_id, url, kinds, chain_heads, sealed_secret, created_at
) VALUES (
    $1, $2, $3, $4, $5, $6, $7
);

-- name: lock_webhook
-- A webhook by its id; nobody else changes it until this transaction ends.
SELECT
    webhook_id, organisation_id, url, kinds, chain_heads, sealed_secret, created_at
FROM webhooks WHERE webhook_id = $1 FOR UPDATE;

-- name: select_webhook
-- A page: of organisation $1, team $2, parent $3, state $4, after $5, archived ones too if $6; at most $7.
SELECT
    webhook_id, organisation_id, url, kinds, chain_heads, sealed_secret, created_at
FROM webhooks
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND $2::text IS NULL
    AND $3::text IS NULL
    AND $4::smallint IS NULL AND ($6 OR true)
    AND webhook_id > $5
ORDER BY webhook_id
LIMIT $7;

-- name: select_alert
-- A page: of organisation $1, team $2, parent $3, state $4, newest first, before $5, archived ones too if $6; at most $7.
SELECT
    alert_id, kind, organisation_id, team_id, budget_id, percent, message, occurred_at, ledger_sequence,
    delivered_at, once
FROM alerts
WHERE ($1::text IS NULL OR organisation_id = $1)
    AND ($2::text IS NULL OR team_id = $2)
    AND ($3::text IS NULL OR budget_id = $3)
    AND $4::smallint IS NULL AND ($6 OR true)
    AND ($5 = '' OR alert_id < $5)
ORDER BY alert_id DESC
LIMIT $7;
