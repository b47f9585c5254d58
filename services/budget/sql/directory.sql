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

-- name: select_all_directory_keys
-- Every secret that works, or is a key's present one.
SELECT
    secret_hash, organisation_id, team_id, project_id, key_id, user_id, permissions, expires_at, model_patterns,
    disabled
FROM directory_keys WHERE known;

-- name: select_directory_keys
-- Of these those of keys $1, of projects $2, of teams $3, of organisations $4, of users $5.
SELECT
    secret_hash, organisation_id, team_id, project_id, key_id, user_id, permissions, expires_at, model_patterns,
    disabled
FROM directory_keys WHERE known AND key_id = ANY (ARRAY(
    SELECT key_id FROM keys WHERE key_id = ANY ($1)
    UNION SELECT key_id FROM keys WHERE project_id = ANY ($2)
    UNION SELECT key_id FROM keys WHERE team_id = ANY ($3)
    UNION SELECT key_id FROM keys WHERE organisation_id = ANY ($4)
    UNION SELECT key_id FROM keys WHERE user_id = ANY ($5)
));

-- name: find_directory_key
-- The key that the secret $1 opens, or opened before its rotation, and the directory's revision.
SELECT
    secret_hash, organisation_id, team_id, project_id, key_id, user_id, permissions, expires_at, model_patterns,
    disabled, (SELECT revision FROM directory_head) AS revision
FROM directory_keys
WHERE secret_hash = $1 AND key_id = ANY (ARRAY(
    SELECT key_id FROM keys WHERE secret_hash = $1 UNION SELECT key_id FROM keys WHERE previous_secret_hash = $1
));

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
    price_id, organisation_id, model, effective_from, effective_until, tiers, source, revision, created_at,
    imported
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
