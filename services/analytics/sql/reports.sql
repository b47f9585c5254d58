-- Reports over usage entries: what bought nothing, and what the same tokens would have cost elsewhere.

-- name: sum_waste
-- Charges that bought nothing, by group and kind, dearest first. An attempt is of the first kind that fits:
--   mirror       a copy for a shadow model, whose answer nobody sees
--   unconfirmed  charged in full because nobody said what it cost
--   cut          ended at its output cap, or for want of budget
--   hedge        cancelled because the other of two that raced was quicker
--   rejected     a cheap answer that its check did not accept, so that the strong model was asked
--   failed, cancelled, interrupted: as it ended; an interrupted answer that another model went on with was of use.
-- What an attempt was made for is in its dimension "purpose", that it was cut in "cut": the router writes both. Only
-- requests with something unusual are looked at; their other attempts say what became of them, whatever the scope's
-- model and dimensions.
WITH unusual AS (
    SELECT DISTINCT request_id
    FROM usage_entry
    WHERE organisation_id = $1 AND occurred_at >= $8 AND occurred_at < $9
        AND (outcome NOT IN ('succeeded', 'released') OR unconfirmed_nanos <> 0 OR dimensions ?| '{purpose,cut}')
        AND request_id <> ''
), attempt AS (
    SELECT
        request_id, attempt, team_id, project_id, key_id, user_id, model,
        sum(cost_nanos) AS cost_nanos,
        sum(unconfirmed_nanos) AS unconfirmed_nanos,
        coalesce((array_agg(outcome ORDER BY sequence DESC) FILTER (WHERE kind <> 'rerate'))[1], '') AS outcome,
        (array_agg(dimensions ORDER BY sequence DESC) FILTER (WHERE kind <> 'rerate'))[1] AS dimensions
    FROM usage_entry
    JOIN unusual USING (request_id)
    WHERE organisation_id = $1 AND occurred_at >= $8 AND occurred_at < $9
    GROUP BY request_id, attempt, team_id, project_id, key_id, user_id, model
), told AS (
    SELECT
        attempt.*,
        coalesce(dimensions ->> 'purpose', '') AS purpose,
        bool_or(dimensions ->> 'purpose' = 'hedge') OVER request AS raced,
        bool_or(dimensions ->> 'purpose' = 'escalation') OVER request AS escalated,
        bool_or(dimensions ->> 'purpose' = 'continuation') OVER request AS continued,
        bool_or(outcome = 'succeeded' AND coalesce(dimensions ->> 'purpose', '') <> 'mirror') OVER request AS answered
    FROM attempt
    WINDOW request AS (PARTITION BY request_id)
), waste AS (
    SELECT
        told.*,
        CASE
            WHEN purpose = 'mirror' THEN 'mirror'
            WHEN unconfirmed_nanos > 0 THEN 'unconfirmed'
            WHEN dimensions ? 'cut' THEN 'cut'
            WHEN outcome = 'cancelled' AND raced AND answered THEN 'hedge'
            WHEN outcome = 'succeeded' AND purpose = 'cascade' AND escalated THEN 'rejected'
            WHEN outcome IN ('failed', 'unknown') THEN 'failed'
            WHEN outcome = 'cancelled' THEN 'cancelled'
            WHEN outcome = 'interrupted' AND NOT (coalesce(continued, false) AND answered) THEN 'interrupted'
        END AS kind
    FROM told
    WHERE cost_nanos > 0
        AND ($2 = '' OR team_id = $2)
        AND ($3 = '' OR project_id = $3)
        AND ($4 = '' OR key_id = $4)
        AND ($5 = '' OR user_id = $5)
        AND model LIKE $6
        AND ($7::jsonb = '{}' OR dimensions @> $7)
), named AS (
    SELECT
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
                WHEN 'dimension' THEN coalesce(dimensions ->> $11, '')
            END
            FROM unnest($10::text[]) WITH ORDINALITY AS grouping (wanted, place)
            ORDER BY place
        ) AS grouped,
        kind, cost_nanos
    FROM waste
    WHERE kind IS NOT NULL
)
SELECT grouped, kind, sum(cost_nanos)::bigint AS cost_nanos, count(*) AS attempts
FROM named
GROUP BY grouped, kind
ORDER BY 3 DESC, grouped, kind
LIMIT $12;
