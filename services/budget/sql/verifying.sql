-- What a walk along a ledger reads, and pages of it for people.

-- name: tree_of
-- The tree of organisation $1 and where its chain ends.
SELECT tree_no, sequence, head FROM trees WHERE organisation_id = $1;

-- name: chain_entries
-- Entries of tree $1 after sequence $2, in order, at most $3.
SELECT sequence, body, hash FROM ledger_entries WHERE tree_no = $1 AND sequence > $2 ORDER BY sequence LIMIT $3;

-- name: chain_entry
-- One entry.
SELECT sequence, body, hash FROM ledger_entries WHERE tree_no = $1 AND sequence = $2;

-- name: kept_counters
-- Every window of tree $1 as it is kept.
SELECT no, budget_id, held, spent, overage, end_us FROM counters WHERE tree_no = $1;

-- name: ledger_page
-- Entries of organisation $1 after sequence $2 and before $3, of kinds $4 and request $5 where those are not null, at
-- most $6, oldest first.
SELECT entry.tree_no, entry.sequence, entry.body, entry.hash, previous.hash AS previous_hash
FROM trees
JOIN ledger_entries AS entry ON entry.tree_no = trees.tree_no AND entry.sequence > $2 AND entry.sequence < $3
LEFT JOIN ledger_entries AS previous ON previous.tree_no = entry.tree_no AND previous.sequence = entry.sequence - 1
WHERE trees.organisation_id = $1
    AND ($4::smallint[] IS NULL OR entry.kind = ANY ($4))
    AND ($5::text IS NULL OR entry.request_id = $5)
ORDER BY entry.sequence LIMIT $6;

-- name: ledger_page_newest_first
-- As ledger_page, newest first.
SELECT entry.tree_no, entry.sequence, entry.body, entry.hash, previous.hash AS previous_hash
FROM trees
JOIN ledger_entries AS entry ON entry.tree_no = trees.tree_no AND entry.sequence > $2 AND entry.sequence < $3
LEFT JOIN ledger_entries AS previous ON previous.tree_no = entry.tree_no AND previous.sequence = entry.sequence - 1
WHERE trees.organisation_id = $1
    AND ($4::smallint[] IS NULL OR entry.kind = ANY ($4))
    AND ($5::text IS NULL OR entry.request_id = $5)
ORDER BY entry.sequence DESC LIMIT $6;
