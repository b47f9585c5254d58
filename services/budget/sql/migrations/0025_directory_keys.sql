-- Every secret that opens a key, what it opens, and whether something above it stands in the way.
CREATE VIEW directory_keys AS
SELECT
    secrets.secret_hash, keys.organisation_id, keys.team_id, keys.project_id, keys.key_id, keys.user_id,
    keys.permissions, secrets.expires_at, keys.model_patterns,
    (keys.state <> 1 OR projects.state <> 1 OR teams.state <> 1 OR organisations.state <> 1
        OR coalesce(users.state, 1) <> 1) AS disabled,
    (secrets.secret_hash = keys.secret_hash OR secrets.expires_at > now()) AS known
FROM keys
JOIN projects USING (project_id)
JOIN teams ON teams.team_id = keys.team_id
JOIN organisations ON organisations.organisation_id = keys.organisation_id
LEFT JOIN users ON users.user_id = keys.user_id
CROSS JOIN LATERAL (
    VALUES (keys.secret_hash, keys.expires_at),
        (keys.previous_secret_hash, least(keys.expires_at, keys.previous_secret_expires_at))
) AS secrets (secret_hash, expires_at)
WHERE secrets.secret_hash IS NOT NULL;

-- What hangs below an organisation or a team, when that changes.
CREATE INDEX keys_by_organisation ON keys (organisation_id, team_id);
CREATE INDEX keys_by_team ON keys (team_id);
