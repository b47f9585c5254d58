-- The directory of who may call, as routers follow it.

-- name: raise_revision
-- The next revision of the directory. Its row stays locked until the change commits, so revisions appear in order.
UPDATE directory_head SET revision = revision + 1 RETURNING revision;

-- name: insert_directory_change
-- What is new, changed or gone at revision $1.
INSERT INTO directory_changes (revision, position, kind, entity_id, removed_secret_hash)
VALUES ($1, $2, $3, $4, $5);

-- name: notify_directory
-- Tells every replica once the change has committed. A lost notification is healed by polling the revision.
SELECT pg_notify('turnpike_budget_directory', $1);

-- name: trim_directory_changes
-- Forgets changes so old that whoever missed them starts from a snapshot: all but the last $1 revisions.
DELETE FROM directory_changes WHERE revision <= (SELECT revision FROM directory_head) - $1;

-- name: directory_revision
-- The newest revision.
SELECT revision FROM directory_head;

-- name: oldest_known_revision
-- The revision after which every change is still known.
SELECT coalesce(min(changes.revision) - 1, max(head.revision))
FROM directory_head AS head LEFT JOIN directory_changes AS changes ON true;

-- name: select_directory_changes
-- What changed after revision $1.
SELECT DISTINCT kind, entity_id, removed_secret_hash FROM directory_changes WHERE revision > $1;

-- name: select_directory_keys
-- Every secret that opens a key: its present one, and the one before while that still works. Where $1 is not null only
-- those of keys $1, of projects $2, of teams $3, of organisations $4, of users $5.
SELECT
    secrets.secret_hash, keys.organisation_id, keys.team_id, keys.project_id, keys.key_id, keys.user_id,
    keys.permissions, secrets.expires_at, keys.model_patterns,
    (keys.state <> 1 OR projects.state <> 1 OR teams.state <> 1 OR organisations.state <> 1
        OR coalesce(users.state, 1) <> 1) AS disabled
FROM keys
JOIN projects USING (project_id)
JOIN teams ON teams.team_id = keys.team_id
JOIN organisations ON organisations.organisation_id = keys.organisation_id
LEFT JOIN users ON users.user_id = keys.user_id
CROSS JOIN LATERAL (
    VALUES (keys.secret_hash, keys.expires_at),
        (keys.previous_secret_hash, least(keys.expires_at, keys.previous_secret_expires_at))
) AS secrets (secret_hash, expires_at)
WHERE secrets.secret_hash IS NOT NULL
    AND (secrets.secret_hash = keys.secret_hash OR secrets.expires_at > now())
    AND ($1::text[] IS NULL OR keys.key_id = ANY ($1) OR keys.project_id = ANY ($2) OR keys.team_id = ANY ($3)
        OR keys.organisation_id = ANY ($4) OR keys.user_id = ANY ($5));

-- name: find_directory_key
-- The key that the secret $1 opens, or opened before its rotation.
SELECT
    $1::bytea AS secret_hash, keys.organisation_id, keys.team_id, keys.project_id, keys.key_id, keys.user_id,
    keys.permissions, keys.model_patterns,
    CASE WHEN keys.secret_hash = $1 THEN keys.expires_at
        ELSE least(keys.expires_at, keys.previous_secret_expires_at) END AS expires_at,
    (keys.state <> 1 OR projects.state <> 1 OR teams.state <> 1 OR organisations.state <> 1
        OR coalesce(users.state, 1) <> 1) AS disabled
FROM keys
JOIN projects USING (project_id)
JOIN teams ON teams.team_id = keys.team_id
JOIN organisations ON organisations.organisation_id = keys.organisation_id
LEFT JOIN users ON users.user_id = keys.user_id
WHERE keys.secret_hash = $1 OR keys.previous_secret_hash = $1;

-- name: select_directory_organisations
-- Organisations $1, or all.
SELECT
    organisation_id, display_name, state, time_zone, discount_ppm, data_class, unknown_price_policy, version,
    created_at
FROM organisations WHERE $1::text[] IS NULL OR organisation_id = ANY ($1);

-- name: select_directory_teams
-- Teams $1, or all.
SELECT team_id, organisation_id, display_name, state, version, created_at
FROM teams WHERE $1::text[] IS NULL OR team_id = ANY ($1);

-- name: select_directory_projects
-- Projects $1, or all.
SELECT
    project_id, team_id, organisation_id, display_name, state, data_class, capture_content, version, created_at
FROM projects WHERE $1::text[] IS NULL OR project_id = ANY ($1);

-- name: select_directory_prices
-- Prices $1, or all that hold now or will.
SELECT
    price_id, organisation_id, model, effective_from, effective_until, tiers, source, revision, created_at
FROM prices
WHERE CASE
    WHEN $1::text[] IS NOT NULL THEN price_id = ANY ($1)
    ELSE coalesce(effective_until > now(), true) AND NOT EXISTS (
        SELECT FROM prices AS later
        WHERE later.model = prices.model
            AND later.organisation_id IS NOT DISTINCT FROM prices.organisation_id
            AND later.effective_from <= now()
            AND coalesce(later.effective_until > now(), true)
            AND (later.effective_from, later.revision) > (prices.effective_from, prices.revision)
    )
END;
