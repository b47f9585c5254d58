-- Single usage entries.

-- name: page_of_entries
-- Entries of a scope and time in the order of the ledger, after the one in $10 (time) and $11 (sequence): times never
-- fall within an organisation's ledger, so its order is that of the index.
SELECT
    organisation_id, sequence, occurred_at, kind, request_id, attempt, team_id, project_id, key_id, user_id, model,
    outcome, cost_nanos, overage_nanos, unconfirmed_nanos, input_tokens, output_tokens, cache_read_tokens,
    reasoning_tokens, endpoint_id, dimensions
FROM usage_entry
WHERE organisation_id = $1
    AND ($2 = '' OR team_id = $2)
    AND ($3 = '' OR project_id = $3)
    AND ($4 = '' OR key_id = $4)
    AND ($5 = '' OR user_id = $5)
    AND model LIKE $6
    AND ($7::jsonb = '{}' OR dimensions @> $7)
    AND occurred_at >= $8 AND occurred_at < $9
    AND ($10::timestamptz IS NULL OR (occurred_at, sequence) > ($10, $11))
ORDER BY occurred_at, sequence
LIMIT $12;

-- name: newest_charges
-- The newest charges of a scope and time, newest first; what was released charged nothing.
SELECT
    organisation_id, sequence, occurred_at, kind, request_id, attempt, team_id, project_id, key_id, user_id, model,
    outcome, cost_nanos, overage_nanos, unconfirmed_nanos, input_tokens, output_tokens, cache_read_tokens,
    reasoning_tokens, endpoint_id, dimensions
FROM usage_entry
WHERE organisation_id = $1
    AND ($2 = '' OR team_id = $2)
    AND ($3 = '' OR project_id = $3)
    AND ($4 = '' OR key_id = $4)
    AND ($5 = '' OR user_id = $5)
    AND model LIKE $6
    AND ($7::jsonb = '{}' OR dimensions @> $7)
    AND occurred_at >= $8 AND occurred_at < $9
    AND kind <> 'release'
ORDER BY occurred_at DESC, sequence DESC
LIMIT $10;

-- name: entries_after
-- Entries of an organisation after a sequence and up to another, in order.
SELECT
    organisation_id, sequence, occurred_at, kind, request_id, attempt, team_id, project_id, key_id, user_id, model,
    outcome, cost_nanos, overage_nanos, unconfirmed_nanos, input_tokens, output_tokens, cache_read_tokens,
    reasoning_tokens, endpoint_id, dimensions
FROM usage_entry
WHERE organisation_id = $1 AND sequence > $2 AND sequence <= $3
ORDER BY sequence
LIMIT $4;

-- name: last_entry_before
-- The sequence of an organisation's last entry before a time.
SELECT sequence FROM usage_entry
WHERE organisation_id = $1 AND occurred_at < $2
ORDER BY occurred_at DESC, sequence DESC
LIMIT 1;

-- name: charges_of_requests
-- Charges of some requests, and what corrected them, in the order of the ledger. Reads all of an organisation's entries.
SELECT
    organisation_id, sequence, occurred_at, kind, request_id, attempt, team_id, project_id, key_id, user_id, model,
    outcome, cost_nanos, overage_nanos, unconfirmed_nanos, input_tokens, output_tokens, cache_read_tokens,
    reasoning_tokens, endpoint_id, dimensions
FROM usage_entry
WHERE organisation_id = $1 AND request_id = ANY($2::text[]) AND kind IN ('commit', 'expire', 'correct')
ORDER BY sequence;
