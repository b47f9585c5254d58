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

-- name: decisions_without_ablest
-- Decision records from $2 on and before the key in $3 (time) and $4 (id), newest first, whose ablest model was not read
-- from them yet. Each page goes on where the last ended, and looks records up one by one in the order of the index: as
-- a join, every page would pass over all that was learned. OFFSET 0 is what keeps the planner from joining.
SELECT request_id, decided_at, decision_id, record
FROM (
    SELECT request_id, decided_at, decision_id, record
    FROM decision
    WHERE organisation_id = $1 AND decided_at >= $2 AND (decided_at, decision_id) < ($3::timestamptz, $4::text)
    ORDER BY decided_at DESC, decision_id DESC
    OFFSET 0
) AS decided
WHERE NOT EXISTS (
    SELECT FROM ablest_model WHERE organisation_id = $1 AND ablest_model.request_id = decided.request_id OFFSET 0
)
ORDER BY decided_at DESC, decision_id DESC
LIMIT $5;

-- name: keep_ablest
-- Keeps what was read; of two that read the same the first is kept.
INSERT INTO ablest_model (organisation_id, request_id, model)
SELECT $1, * FROM unnest($2::text[], $3::text[])
ON CONFLICT DO NOTHING;

-- name: sum_savings
-- What requests cost, and the tokens of their answers by what decides their price: rows by group, baseline's model, model
-- that answered, time and size. Time is counted by the moments in $13 at which some price changes, size by the input
-- tokens in $14 at which some tier begins: both rise, and 0 is before the first.
-- A request's answer is its last attempt that succeeded, else its last that was charged. Its tokens are what a baseline
-- would have been asked for; all that its attempts cost is what was spent, as far as it is in the scope.
-- A row without `requests` is money that belongs to no answer: mirrors, which another key pays, and what was booked without
-- a request or later than its answer's time.
WITH entry AS (
    SELECT usage_entry.*, is_beside, kind IN ('commit', 'expire', 'correct') AND NOT is_beside AS may_answer
    FROM usage_entry
    CROSS JOIN LATERAL (SELECT coalesce(dimensions ->> 'purpose', '') = 'mirror' OR request_id = '') AS _ (is_beside)
    WHERE organisation_id = $1
        AND ($2 = '' OR team_id = $2)
        AND ($3 = '' OR project_id = $3)
        AND ($4 = '' OR key_id = $4)
        AND ($5 = '' OR user_id = $5)
        AND model LIKE $6
        AND ($7::jsonb = '{}' OR dimensions @> $7)
        AND occurred_at >= $8 AND occurred_at < $9
), told AS (
    -- All of a request's entries lie beside each other after one sort, its answer first.
    SELECT
        request_id, occurred_at, team_id, project_id, key_id, user_id, model, outcome, dimensions, cost_nanos,
        input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, is_beside,
        may_answer AND row_number() OVER request = 1 AS answers,
        sum(cost_nanos) FILTER (WHERE NOT is_beside) OVER (PARTITION BY request_id) AS spent_nanos,
        bool_or(may_answer) OVER (PARTITION BY request_id) AS answered
    FROM entry
    WINDOW request AS (
        PARTITION BY request_id ORDER BY may_answer DESC, outcome = 'succeeded' DESC, attempt DESC, sequence DESC
    )
), line AS (
    SELECT
        told.*,
        CASE WHEN answers THEN coalesce(nullif($12, ''), ablest_model.model, '') ELSE '' END AS baseline_model,
        CASE WHEN answers THEN spent_nanos ELSE cost_nanos END AS line_nanos,
        answers AND input_tokens IS NOT NULL AND output_tokens IS NOT NULL AS known
    FROM told
    LEFT JOIN ablest_model
        ON $12 = '' AND ablest_model.organisation_id = $1 AND ablest_model.request_id = told.request_id
    WHERE answers OR is_beside OR NOT answered
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
        baseline_model, model, width_bucket(occurred_at, $13::timestamptz[]) AS dated,
        width_bucket(coalesce(input_tokens, 0), $14::bigint[]) AS sized, known, answers, line_nanos, input_tokens,
        output_tokens, cache_read_tokens, reasoning_tokens
    FROM line
)
SELECT
    grouped, baseline_model, model, dated, sized, known,
    count(*) FILTER (WHERE answers) AS requests,
    sum(line_nanos)::bigint AS cost_nanos,
    coalesce(sum(input_tokens) FILTER (WHERE answers), 0)::bigint AS input_tokens,
    coalesce(sum(output_tokens) FILTER (WHERE answers), 0)::bigint AS output_tokens,
    coalesce(sum(cache_read_tokens) FILTER (WHERE answers), 0)::bigint AS cache_read_tokens,
    coalesce(sum(reasoning_tokens) FILTER (WHERE answers), 0)::bigint AS reasoning_tokens
FROM named
GROUP BY grouped, baseline_model, model, dated, sized, known
LIMIT $15;
