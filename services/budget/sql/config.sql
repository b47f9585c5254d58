-- What the owner of a tree decides by.

-- name: config_organisation
-- Organisation $1: whether it takes part, and how it pays.
SELECT state, discount_ppm, unknown_price_policy FROM organisations WHERE organisation_id = $1;

-- name: config_keys
-- Keys of organisation $1, of them only $2 where that is not null, with what is above them. Revoked ones are among them:
-- a router may name one for a while yet, and is told that it was revoked.
SELECT
    keys.key_id, keys.project_id, keys.team_id, keys.user_id, keys.state, keys.expires_at, keys.permissions,
    projects.state AS project_state, teams.state AS team_state
FROM keys
JOIN projects USING (project_id)
JOIN teams ON teams.team_id = keys.team_id
WHERE keys.organisation_id = $1 AND ($2::text[] IS NULL OR keys.key_id = ANY ($2));

-- name: config_users
-- Users of organisation $1.
SELECT user_id, external_id, state FROM users WHERE organisation_id = $1;

-- name: config_budgets
-- Budgets of organisation $1 that are not archived, of them only $2 where that is not null.
SELECT
    budget_id, organisation_id, team_id, subject_kind, subject_id, scope_kind, scope_name, unit, "limit", "window",
    counts_since, mode, alert_percents, display_name, state, version, created_at
FROM budgets
WHERE organisation_id = $1 AND state <> 3 AND ($2::text[] IS NULL OR budget_id = ANY ($2));

-- name: config_overrides
-- Overrides of budgets $1 that are in force or will be, in the order they were made.
SELECT budget_id, "limit", starts_at, ends_at FROM budget_overrides
WHERE budget_id = ANY ($1) AND revoked_at IS NULL AND ends_at > now()
ORDER BY override_id;

-- name: config_all_overrides
-- Overrides of all budgets of organisation $1 that are in force or will be, in the order they were made.
SELECT budget_id, "limit", starts_at, ends_at FROM budget_overrides
WHERE organisation_id = $1 AND revoked_at IS NULL AND ends_at > now()
ORDER BY override_id;

-- name: config_all_transfers
-- What was moved to and from all budgets of organisation $1.
SELECT budget_id, moved_at, amount FROM budget_transfers WHERE organisation_id = $1 ORDER BY moved_at;

-- name: config_transfers
-- What was moved to and from budgets $1.
SELECT budget_id, moved_at, amount FROM budget_transfers WHERE budget_id = ANY ($1) ORDER BY moved_at;
