-- Corrections count as two lines: what they replace is taken out of `unknown`, the whole goes to the outcome they tell.
-- Rollups had the difference with the outcome, and the attempt with `unknown`; entries say all that is needed.
INSERT INTO usage_rollup AS known (
    organisation_id, start, team_id, project_id, key_id, user_id, model, outcome, cost_nanos, attempts, requests,
    input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, unconfirmed_nanos, overage_nanos, failed
)
SELECT
    organisation_id, date_bin('15 minutes', occurred_at, 'epoch'::timestamptz), team_id, project_id, key_id, user_id,
    model, line.outcome, sum(sign * -unconfirmed_nanos), sum(sign), coalesce(sum(sign) FILTER (WHERE attempt = 1), 0),
    0, 0, 0, 0, sum(sign * -unconfirmed_nanos), 0, coalesce(sum(sign) FILTER (WHERE line.outcome <> 'succeeded'), 0)
FROM usage_entry
CROSS JOIN LATERAL (VALUES (usage_entry.outcome, 1), ('unknown', -1)) AS line (outcome, sign)
WHERE kind = 'correct'
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
ON CONFLICT (organisation_id, start, team_id, project_id, key_id, user_id, model, outcome) DO UPDATE SET
    cost_nanos = known.cost_nanos + excluded.cost_nanos,
    attempts = known.attempts + excluded.attempts,
    requests = known.requests + excluded.requests,
    unconfirmed_nanos = known.unconfirmed_nanos + excluded.unconfirmed_nanos,
    failed = known.failed + excluded.failed;
