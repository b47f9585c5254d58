-- name: store_usage
-- Stores what a piece of one organisation's ledger says, adds it to the rollups and moves the position, all or nothing.
-- A correction counts as two lines: what it replaces is taken out of `unknown`, the whole goes to the outcome it tells.
-- Nothing happens if the position is not the one that was read from: another replica was faster. Returns true if stored.
-- Locks: the organisation's ledger_position, then its rollups in the order of their key.
WITH position AS (
    INSERT INTO ledger_position AS known (organisation_id, sequence, occurred_at)
    VALUES ($1, $3, $4)
    ON CONFLICT (organisation_id) DO UPDATE SET sequence = excluded.sequence, occurred_at = excluded.occurred_at
        WHERE known.sequence = $2
    RETURNING known.sequence
), entry AS (
    INSERT INTO usage_entry (
        organisation_id, sequence, occurred_at, kind, request_id, attempt, team_id, project_id, key_id, user_id, model,
        outcome, endpoint_id, cost_nanos, overage_nanos, unconfirmed_nanos, input_tokens, output_tokens,
        cache_read_tokens, reasoning_tokens, dimensions
    )
    SELECT $1, given.*
    FROM position, unnest(
        $5::bigint[], $6::timestamptz[], $7::text[], $8::text[], $9::int[], $10::text[], $11::text[], $12::text[],
        $13::text[], $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
        $21::bigint[], $22::bigint[], $23::bigint[], $24::jsonb[]
    ) AS given
    RETURNING *
), line AS (
    SELECT
        organisation_id, occurred_at, team_id, project_id, key_id, user_id, model, outcome, attempt,
        -- A correction says the difference; its outcome gets the whole, which `unknown` gives back below.
        CASE kind WHEN 'correct' THEN cost_nanos - unconfirmed_nanos ELSE cost_nanos END AS whole_nanos,
        (kind IN ('commit', 'release', 'expire', 'correct'))::int AS ended, input_tokens, output_tokens,
        cache_read_tokens, reasoning_tokens,
        CASE kind WHEN 'correct' THEN 0 ELSE unconfirmed_nanos END AS unsure_nanos, overage_nanos
    FROM entry
), given_back AS (
    SELECT
        organisation_id, occurred_at, team_id, project_id, key_id, user_id, model, 'unknown' AS outcome, attempt,
        unconfirmed_nanos AS whole_nanos, -1 AS ended, 0 AS input_tokens, 0 AS output_tokens, 0 AS cache_read_tokens,
        0 AS reasoning_tokens, unconfirmed_nanos AS unsure_nanos, 0 AS overage_nanos
    FROM entry
    WHERE kind = 'correct'
), rollup AS (
    INSERT INTO usage_rollup AS known (
        organisation_id, start, team_id, project_id, key_id, user_id, model, outcome, cost_nanos, attempts, requests,
        input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, unconfirmed_nanos, overage_nanos, failed
    )
    SELECT
        organisation_id, date_bin('15 minutes', occurred_at, 'epoch'::timestamptz), team_id, project_id, key_id,
        user_id, model, outcome,
        sum(whole_nanos), sum(ended), coalesce(sum(ended) FILTER (WHERE attempt = 1), 0),
        coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0),
        coalesce(sum(reasoning_tokens), 0), sum(unsure_nanos), sum(overage_nanos),
        coalesce(sum(ended) FILTER (WHERE outcome <> 'succeeded'), 0)
    FROM (
        SELECT * FROM line
        UNION ALL
        SELECT * FROM given_back
    ) AS lines
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (organisation_id, start, team_id, project_id, key_id, user_id, model, outcome) DO UPDATE SET
        cost_nanos = known.cost_nanos + excluded.cost_nanos,
        attempts = known.attempts + excluded.attempts,
        requests = known.requests + excluded.requests,
        input_tokens = known.input_tokens + excluded.input_tokens,
        output_tokens = known.output_tokens + excluded.output_tokens,
        cache_read_tokens = known.cache_read_tokens + excluded.cache_read_tokens,
        reasoning_tokens = known.reasoning_tokens + excluded.reasoning_tokens,
        unconfirmed_nanos = known.unconfirmed_nanos + excluded.unconfirmed_nanos,
        overage_nanos = known.overage_nanos + excluded.overage_nanos,
        failed = known.failed + excluded.failed
)
SELECT EXISTS (SELECT FROM position);

-- name: ledger_positions
-- How far every organisation's ledger has been read.
SELECT organisation_id, sequence, occurred_at FROM ledger_position;

-- name: freshness
-- How far one organisation's ledger has been read.
SELECT sequence, occurred_at FROM ledger_position WHERE organisation_id = $1;

-- name: sum_usage
-- Sums of usage by time and group: whole quarters of an hour ($8 to $9) from the rollups, the edges of the range ($6 to
-- $8 and $9 to $7) from single entries, corrections as two lines like there. With $8 = $9 = $7 everything comes from entries. Rows come in the order of their
-- key and begin after the one in $15 (time) and $16 (group).
WITH line AS (
    SELECT
        start AS occurred_at, team_id, project_id, key_id, user_id, model, outcome, NULL::jsonb AS dimensions,
        cost_nanos, attempts, requests, input_tokens, output_tokens, cache_read_tokens, reasoning_tokens,
        unconfirmed_nanos, overage_nanos, failed
    FROM usage_rollup
    WHERE organisation_id = $1 AND start >= $8 AND start < $9
    UNION ALL
    SELECT
        occurred_at, team_id, project_id, key_id, user_id, model, outcome, dimensions,
        CASE kind WHEN 'correct' THEN cost_nanos - unconfirmed_nanos ELSE cost_nanos END,
        (kind IN ('commit', 'release', 'expire', 'correct'))::int,
        (kind IN ('commit', 'release', 'expire', 'correct') AND attempt = 1)::int,
        coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(cache_read_tokens, 0),
        coalesce(reasoning_tokens, 0), CASE kind WHEN 'correct' THEN 0 ELSE unconfirmed_nanos END, overage_nanos,
        (kind IN ('commit', 'release', 'expire', 'correct') AND outcome <> 'succeeded')::int
    FROM usage_entry
    WHERE organisation_id = $1
        AND occurred_at >= $6 AND occurred_at < $7 AND (occurred_at < $8 OR occurred_at >= $9)
    UNION ALL
    SELECT
        occurred_at, team_id, project_id, key_id, user_id, model, 'unknown', dimensions, unconfirmed_nanos,
        -1, -(attempt = 1)::int, 0, 0, 0, 0, unconfirmed_nanos, 0, -1
    FROM usage_entry
    WHERE organisation_id = $1
        AND occurred_at >= $6 AND occurred_at < $7 AND (occurred_at < $8 OR occurred_at >= $9)
        AND kind = 'correct'
), named AS (
    SELECT
        CASE $10::text WHEN '' THEN $6 ELSE date_trunc($10, occurred_at, $11) END AS start,
        ARRAY(
            SELECT CASE wanted
                WHEN 'organisation' THEN $1
                WHEN 'team' THEN team_id
                WHEN 'project' THEN project_id
                WHEN 'key' THEN key_id
                WHEN 'user' THEN user_id
                WHEN 'model' THEN model
                WHEN 'provider' THEN split_part(model, '/', 1)
                WHEN 'outcome' THEN outcome
                WHEN 'dimension' THEN coalesce(dimensions ->> $13, '')
            END
            FROM unnest($12::text[]) WITH ORDINALITY AS grouping (wanted, place)
            ORDER BY place
        ) AS grouped,
        line.*
    FROM line
    WHERE ($2 = '' OR team_id = $2)
        AND ($3 = '' OR project_id = $3)
        AND ($4 = '' OR key_id = $4)
        AND ($5 = '' OR user_id = $5)
        AND model LIKE $14
        AND ($18::jsonb = '{}' OR dimensions @> $18)
), summed AS (
    SELECT
        start, grouped, sum(cost_nanos)::bigint AS cost_nanos, sum(attempts)::bigint AS attempts,
        sum(requests)::bigint AS requests, sum(input_tokens)::bigint AS input_tokens,
        sum(output_tokens)::bigint AS output_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens,
        sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(unconfirmed_nanos)::bigint AS unconfirmed_nanos,
        sum(overage_nanos)::bigint AS overage_nanos, sum(failed)::bigint AS failed
    FROM named
    GROUP BY start, grouped
)
SELECT summed.*, false AS total
FROM (
    SELECT * FROM summed
    WHERE $15::timestamptz IS NULL OR (start, grouped) > ($15, $16::text[])
    ORDER BY start, grouped
    LIMIT $17
) AS summed
UNION ALL
SELECT
    $6, ARRAY[]::text[], coalesce(sum(cost_nanos), 0)::bigint, coalesce(sum(attempts), 0)::bigint,
    coalesce(sum(requests), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint, coalesce(sum(output_tokens), 0)::bigint,
    coalesce(sum(cache_read_tokens), 0)::bigint, coalesce(sum(reasoning_tokens), 0)::bigint,
    coalesce(sum(unconfirmed_nanos), 0)::bigint, coalesce(sum(overage_nanos), 0)::bigint,
    coalesce(sum(failed), 0)::bigint, true
FROM summed
ORDER BY total, start, grouped;

-- name: store_decisions
-- Stores decision records; those that are there already are left alone. Returns how many were new.
WITH stored AS (
    INSERT INTO decision (
        organisation_id, decision_id, request_id, decided_at, team_id, project_id, key_id, user_id, model, task, failed,
        attempts, record
    )
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::bool[], $12::int[], $13::bytea[]
    )
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM stored;

-- name: store_snapshots
-- Stores what decisions are made from, once each; of what is there already only the day of its last use moves.
-- No name may be given twice. Locks: the snapshots in the order given.
INSERT INTO decision_snapshot AS known (snapshot_id, content, used_on)
SELECT given.snapshot_id, given.content, $3 FROM unnest($1::bytea[], $2::bytea[]) AS given (snapshot_id, content)
ON CONFLICT (snapshot_id) DO UPDATE SET used_on = excluded.used_on WHERE known.used_on < excluded.used_on;

-- name: snapshots_by_id
-- Snapshots by their names.
SELECT snapshot_id, content FROM decision_snapshot WHERE snapshot_id = ANY($1::bytea[]);

-- name: forget_decisions
-- Deletes at most $2 decision records from before $1, and what was read from them; returns how many records.
-- Of a request with a later record as well, that one is read again when somebody asks.
WITH gone AS (
    DELETE FROM decision
    WHERE (organisation_id, decision_id) IN (
        SELECT organisation_id, decision_id FROM decision WHERE decided_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING organisation_id, request_id
), unlearned AS (
    DELETE FROM ablest_model
    WHERE (organisation_id, request_id) IN (SELECT organisation_id, request_id FROM gone)
)
SELECT count(*) FROM gone;

-- name: forget_snapshots
-- Deletes at most $2 snapshots that were last used before $1; returns how many.
WITH gone AS (
    DELETE FROM decision_snapshot
    WHERE snapshot_id IN (
        SELECT snapshot_id FROM decision_snapshot WHERE used_on < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: list_decisions
-- Decision records, newest first, after the one in $13 (time) and $14 (id).
SELECT
    organisation_id, decision_id, request_id, decided_at, team_id, project_id, key_id, user_id, model, task, failed,
    attempts, record
FROM decision
WHERE organisation_id = $1
    AND ($2 = '' OR team_id = $2)
    AND ($3 = '' OR project_id = $3)
    AND ($4 = '' OR key_id = $4)
    AND ($5 = '' OR user_id = $5)
    AND model LIKE $6
    AND ($7::timestamptz IS NULL OR decided_at >= $7)
    AND ($8::timestamptz IS NULL OR decided_at < $8)
    AND (NOT $9 OR failed)
    AND (NOT $10 OR attempts > 1)
    AND ($11 = '' OR task = $11)
    AND ($13::timestamptz IS NULL OR (decided_at, decision_id) < ($13, $14))
ORDER BY decided_at DESC, decision_id DESC
LIMIT $12;

-- name: decision_by_id
-- One decision record by its id.
SELECT record FROM decision WHERE organisation_id = $1 AND decision_id = $2 AND ($3 = '' OR team_id = $3);

-- name: decision_by_request
-- The newest decision record of a request.
SELECT record FROM decision
WHERE organisation_id = $1 AND request_id = $2 AND ($3 = '' OR team_id = $3)
ORDER BY decided_at DESC
LIMIT 1;
