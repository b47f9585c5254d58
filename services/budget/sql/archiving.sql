-- How old entries leave the ledger (docs/ledger.md, "What has left").

-- name: newest_archive
-- Up to where entries of tree $1 may have left, and where the totals they came to are said.
SELECT until_sequence, until_us, checkpoint_sequence, checkpoint_entries FROM ledger_archives
WHERE tree_no = $1 ORDER BY until_sequence DESC LIMIT 1;

-- name: bodies_between
-- Entries $2 to $3 of tree $1, in order.
SELECT sequence, body FROM ledger_entries WHERE tree_no = $1 AND sequence BETWEEN $2 AND $3 ORDER BY sequence;

-- name: export_entries
-- Entries of tree $1 after sequence $2 up to $3, in order, at most $4.
SELECT sequence, body, hash FROM ledger_entries
WHERE tree_no = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4;

-- name: settled_after
-- Of attempts that were open after entry $2 of tree $1, how many have been settled since.
SELECT count(*) FROM unnest($3::text[], $4::integer[]) AS open (request_id, attempt)
JOIN ledger_entries AS settled
  ON settled.tree_no = $1 AND settled.request_id = open.request_id AND settled.attempt = open.attempt
 AND settled.role = 1 AND settled.sequence > $2;

-- name: insert_archive
-- Lets the entries of tree $1 up to $2, decided at $5, leave; entries $3 and $4 - 1 after it say the totals.
INSERT INTO ledger_archives (tree_no, until_sequence, checkpoint_sequence, checkpoint_entries, until_us)
VALUES ($1, $2, $3, $4, $5);

-- name: righted_between
-- Windows that entries of tree $1 after $2 up to $3 of kinds $4 move, which are those that put charges right.
SELECT DISTINCT number::integer
FROM ledger_entries,
     jsonb_array_elements(convert_from(body, 'UTF8')::jsonb -> 'l') AS leg,
     jsonb_array_elements(leg -> 1) AS number
WHERE tree_no = $1 AND sequence > $2 AND sequence <= $3 AND kind = ANY ($4::smallint[]);

-- name: rolling_budgets
-- Budgets of organisation $1 whose window rolls.
SELECT budget_id FROM budgets WHERE organisation_id = $1 AND "window" ->> 'kind' = 'rolling';

-- name: forget_attempts
-- Of attempts whose beginning leaves tree $1 without their end, nothing is an attempt's any more.
UPDATE ledger_entries SET role = NULL
FROM unnest($2::text[], $3::integer[]) AS left_open (request_id, attempt)
WHERE tree_no = $1 AND role IS NOT NULL
  AND ledger_entries.request_id = left_open.request_id AND ledger_entries.attempt = left_open.attempt;

-- name: first_entry
-- The oldest entry of tree $1 that is still here.
SELECT min(sequence) FROM ledger_entries WHERE tree_no = $1;

-- name: remove_archived
-- Removes entries of tree $1 before sequence $2; how many.
WITH gone AS (DELETE FROM ledger_entries WHERE tree_no = $1 AND sequence < $2 RETURNING 1) SELECT count(*) FROM gone;
