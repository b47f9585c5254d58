-- Statements of the owner. All take the tree's number first; the tree's row is locked before anything else of the tree.

-- name: write_batch
-- Everything a batch decided, if the tree is still as it was decided by (migration 0028 says it). Returns how many trees
-- were changed (0: fenced) and the database's time. Lists come as text: a driver's arrays cost it more than their rows do.
SELECT write_batch(
           $1, $2, $3, $4, $5, $6, $7, $8,
           $9::text::bigint[], $10::text::text[], $11::text::integer[], $12, $13,
           $14::text::integer[], $15::text::bigint[], $16::text::bigint[], $17::text::bigint[], $18::text::bigint[],
           $19::text::integer[], $20::text::integer[])::int AS trees,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us;

-- name: prove_fence
-- Whether the tree is still as decided by, for batches that write nothing; and the database's time.
SELECT count(*)::int AS trees, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
FROM trees WHERE tree_no = $1 AND epoch = $2 AND sequence = $3 AND config_revision = $4;

-- name: open_counters
-- Windows that a batch opened, with their figures after it. In the same transaction, after the fence.
INSERT INTO counters
    (tree_no, no, budget_id, unit, start_us, end_us, lim, ceiling, held, spent, overage, unconfirmed, open, alerted)
SELECT $1, opened.*
FROM unnest($2::integer[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::integer[], $14::integer[]) AS opened;

-- name: change_limits
-- Limits of windows; what is held and spent above a lowered limit stays allowed to be there.
UPDATE counters SET lim = change.lim, ceiling = greatest(change.ceiling, held + spent)
FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS change (no, lim, ceiling)
WHERE tree_no = $1 AND counters.no = change.no;

-- name: renew_leases
-- When leases of open holds end now.
INSERT INTO lease_renewals (tree_no, hold_sequence, expires_us)
SELECT $1, renewal.* FROM unnest($2::bigint[], $3::bigint[]) AS renewal
ON CONFLICT (tree_no, hold_sequence) DO UPDATE SET expires_us = excluded.expires_us;

-- name: put_out
-- What people must be told of a batch.
INSERT INTO outbox (tree_no, sequence, kind, facts)
SELECT $1, fact.sequence, fact.kind, fact.facts::jsonb
FROM unnest($2::bigint[], $3::text[], $4::text[]) AS fact (sequence, kind, facts);

-- name: claim
-- Takes the tree over if nobody alive owns it; waits for whatever the last owner has under way.
UPDATE trees SET epoch = epoch + 1, owner_id = $2, owner_address = $3
WHERE organisation_id = $1
  AND (owner_id IS NULL OR owner_id = $2 OR NOT EXISTS (
      SELECT FROM replicas WHERE replica_id = trees.owner_id AND alive_until > clock_timestamp()))
RETURNING tree_no, epoch;

-- name: owner_of
-- Who owns a tree, and whether he is alive.
SELECT trees.tree_no, trees.owner_id, trees.owner_address, coalesce(replicas.alive_until > clock_timestamp(), false) AS alive
FROM trees LEFT JOIN replicas ON replicas.replica_id = trees.owner_id
WHERE trees.organisation_id = $1;

-- name: tree_state
-- How far a tree is, and the database's time.
SELECT tree_no, epoch, sequence, head, next_counter, last_at_us, config_revision, secret,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
FROM trees WHERE tree_no = $1;

-- name: heartbeat
-- Says that a replica is alive for so many seconds more.
INSERT INTO replicas (replica_id, address, alive_until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (replica_id) DO UPDATE SET alive_until = excluded.alive_until, address = excluded.address;

-- name: forget_dead_replicas
-- Removes replicas that have been silent for a minute.
DELETE FROM replicas WHERE alive_until < clock_timestamp() - interval '1 minute';

-- name: farewell
-- Gives all trees of a replica back and forgets it.
WITH given AS (UPDATE trees SET owner_id = NULL, owner_address = NULL WHERE owner_id = $1)
DELETE FROM replicas WHERE replica_id = $1;

-- name: live_counters
-- Counters of windows that may still be held in, of open holds, and buckets of rolling windows that still count.
SELECT no, budget_id, unit, start_us, end_us, lim, held, spent, overage, unconfirmed, open, alerted FROM counters
WHERE tree_no = $1 AND end_us > $2
UNION ALL
SELECT no, budget_id, unit, start_us, end_us, lim, held, spent, overage, unconfirmed, open, alerted FROM counters
WHERE tree_no = $1 AND open > 0 AND end_us <= $2
UNION ALL
SELECT no, counters.budget_id, unit, start_us, end_us, lim, held, spent, overage, unconfirmed, open, alerted
FROM counters, unnest($3::text[], $4::bigint[]) AS rolling (budget_id, since_us)
WHERE tree_no = $1 AND counters.budget_id = rolling.budget_id AND start_us >= rolling.since_us
  AND NOT open > 0 AND end_us <= $2;

-- name: counters_by_no
-- Counters by their numbers, and the tree's epoch.
SELECT no, budget_id, unit, start_us, end_us, lim, held, spent, overage, unconfirmed, open, alerted,
       (SELECT epoch FROM trees WHERE trees.tree_no = counters.tree_no) AS epoch
FROM counters
WHERE tree_no = $1 AND no = ANY($2::integer[]);

-- name: checkpoint_of
-- Which holds were open at a sequence.
SELECT sequence, open_sequences FROM checkpoints WHERE tree_no = $1;

-- name: bodies_since
-- Entries after a sequence, in order.
SELECT sequence, body FROM ledger_entries WHERE tree_no = $1 AND sequence > $2 ORDER BY sequence;

-- name: bodies_to_begin_with
-- What a new owner has to read, in order: the entries after $3, and of those before it only the ones of holds that are
-- open still: named by the checkpoint, or written after it ($2) and not settled. Nothing of what may leave: none of those
-- is open, and none of their charges changes any more.
WITH archived AS (SELECT coalesce(max(until_sequence), 0) AS until FROM ledger_archives WHERE tree_no = $1)
SELECT sequence, body FROM ledger_entries
WHERE tree_no = $1 AND sequence > $3 AND sequence > (SELECT until FROM archived)
UNION ALL
SELECT sequence, body FROM ledger_entries AS entry
WHERE tree_no = $1 AND sequence = ANY($4::bigint[]) AND sequence <= $3
  AND sequence > (SELECT until FROM archived) AND NOT EXISTS (
    SELECT FROM ledger_entries AS settled
    WHERE settled.tree_no = entry.tree_no AND settled.request_id = entry.request_id
      AND settled.attempt = entry.attempt AND settled.role = 1 AND settled.sequence <= $3)
UNION ALL
SELECT sequence, body FROM ledger_entries AS entry
WHERE tree_no = $1 AND sequence > $2 AND sequence <= $3
  AND sequence > (SELECT until FROM archived) AND role IS NOT NULL AND role NOT IN (1, 2) AND NOT EXISTS (
    SELECT FROM ledger_entries AS settled
    WHERE settled.tree_no = entry.tree_no AND settled.request_id = entry.request_id
      AND settled.attempt = entry.attempt AND settled.role = 1)
ORDER BY sequence;

-- name: renewals
-- Leases that were renewed.
SELECT hold_sequence, expires_us FROM lease_renewals WHERE tree_no = $1;

-- name: save_checkpoint
-- Remembers which holds are open at a sequence, and forgets renewals of those that no longer are.
WITH saved AS (
    INSERT INTO checkpoints (tree_no, sequence, open_sequences) VALUES ($1, $2, $3)
    ON CONFLICT (tree_no) DO UPDATE SET sequence = excluded.sequence, open_sequences = excluded.open_sequences
    WHERE checkpoints.sequence <= excluded.sequence
)
DELETE FROM lease_renewals
WHERE tree_no = $1 AND hold_sequence <= $2 AND hold_sequence <> ALL($3::bigint[]);

-- name: entries_of_attempts
-- All entries of some attempts, in order; the tree's epoch: who reads for an older one owns it no more; and up to where
-- entries may leave.
SELECT entry.sequence, entry.body, (SELECT epoch FROM trees WHERE tree_no = $1) AS epoch,
       (SELECT coalesce(max(until_sequence), 0) FROM ledger_archives WHERE tree_no = $1) AS archived
FROM unnest($2::text[], $3::integer[]) AS wanted (request_id, attempt)
JOIN ledger_entries AS entry
  ON entry.tree_no = $1 AND entry.request_id = wanted.request_id AND entry.attempt = wanted.attempt
 AND entry.role IS NOT NULL
ORDER BY entry.sequence;

-- name: config_changes_since
-- What admins changed after a configuration revision.
SELECT DISTINCT kind, id FROM config_changes WHERE tree_no = $1 AND config_revision > $2;

-- name: lock_tree
-- A tree, locked for a change by another than its owner.
SELECT tree_no, sequence, head, next_counter, last_at_us, config_revision,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
FROM trees WHERE organisation_id = $1 FOR UPDATE;

-- name: advance_tree
-- Moves a locked tree on.
UPDATE trees SET sequence = $2, head = $3, last_at_us = $4, config_revision = $5 WHERE tree_no = $1;

-- name: note_changes
-- What the owner has to read again.
INSERT INTO config_changes (tree_no, config_revision, kind, id)
SELECT $1, $2, change.kind, change.id FROM unnest($3::text[], $4::text[]) AS change (kind, id)
ON CONFLICT DO NOTHING;

-- name: append_entry
-- One entry by another than the owner.
INSERT INTO ledger_entries (tree_no, sequence, kind, request_id, attempt, role, body, hash)
VALUES ($1, $2, $3, $4, $5, NULL, $6, $7);

-- name: counters_of_budgets
-- Counters of some budgets by (budget, start), locked.
SELECT no, counters.budget_id, unit, counters.start_us, end_us, lim, held, spent, overage, unconfirmed, open, alerted
FROM unnest($2::text[], $3::bigint[]) AS wanted (budget_id, start_us)
JOIN counters ON counters.tree_no = $1 AND counters.budget_id = wanted.budget_id AND counters.start_us = wanted.start_us
FOR UPDATE OF counters;

-- name: adjust_counters
-- Books by hand; what is spent above the ceiling raises it.
UPDATE counters SET
    spent = counters.spent + move.spent,
    ceiling = greatest(counters.ceiling, counters.held + counters.spent + move.spent)
FROM unnest($2::integer[], $3::bigint[]) AS move (no, spent)
WHERE tree_no = $1 AND counters.no = move.no;

-- name: new_tree
-- The tree of an organisation, unless it has one.
INSERT INTO trees (organisation_id, secret) VALUES ($1, $2) ON CONFLICT (organisation_id) DO NOTHING;

-- name: standing_counters
-- Counters of some budgets from a start on, and the ledger's position.
SELECT counters.budget_id, start_us, end_us, lim, held, spent, overage, unconfirmed, open, trees.sequence
FROM trees
JOIN unnest($2::text[], $3::bigint[], $4::bigint[]) AS wanted (budget_id, from_us, to_us) ON true
JOIN counters ON counters.tree_no = trees.tree_no AND counters.budget_id = wanted.budget_id
 AND counters.start_us BETWEEN wanted.from_us AND wanted.to_us
WHERE trees.organisation_id = $1;

-- name: ledger_heads
-- The last entry of every chain.
SELECT organisation_id, sequence, head FROM trees WHERE sequence > 0 ORDER BY organisation_id;

-- name: ledger_after
-- Entries after a sequence, oldest first, each with the hash before it.
SELECT entry.tree_no, entry.sequence, entry.body, entry.hash, previous.hash AS previous_hash
FROM trees
JOIN ledger_entries AS entry ON entry.tree_no = trees.tree_no AND entry.sequence > $2
LEFT JOIN ledger_entries AS previous ON previous.tree_no = entry.tree_no AND previous.sequence = entry.sequence - 1
WHERE trees.organisation_id = $1
ORDER BY entry.sequence LIMIT $3;

-- name: ledger_before
-- Entries before a sequence, newest first, each with the hash before it.
SELECT entry.tree_no, entry.sequence, entry.body, entry.hash, previous.hash AS previous_hash
FROM trees
JOIN ledger_entries AS entry ON entry.tree_no = trees.tree_no AND entry.sequence < $2
LEFT JOIN ledger_entries AS previous ON previous.tree_no = entry.tree_no AND previous.sequence = entry.sequence - 1
WHERE trees.organisation_id = $1
ORDER BY entry.sequence DESC LIMIT $3;
