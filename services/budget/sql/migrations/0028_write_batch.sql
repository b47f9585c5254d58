-- What an owner's batch writes, all of it or nothing, in one call: three small statements cost Postgres a fifth less than
-- one with three parts. An entry's code is kind + 16 role + 2^20 attempt (role 65535: none). Bodies and hashes lie end to
-- end, `starts` says where each body begins and, last, where they end. False: fenced, nothing was written.
CREATE FUNCTION write_batch(
    of_tree integer, at_epoch bigint, at_sequence bigint, at_revision bigint,
    to_sequence bigint, to_head bytea, to_next_counter integer, decided_at_us bigint,
    codes bigint[], request_ids text[], starts integer[], bodies bytea, hashes bytea,
    numbers integer[], held_by bigint[], spent_by bigint[], overage_by bigint[], unconfirmed_by bigint[],
    open_by integer[], alerted_at integer[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    UPDATE trees SET sequence = to_sequence, head = to_head, next_counter = to_next_counter, last_at_us = decided_at_us
    WHERE tree_no = of_tree AND epoch = at_epoch AND sequence = at_sequence AND config_revision = at_revision;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO ledger_entries (tree_no, sequence, kind, request_id, attempt, role, body, hash)
    SELECT of_tree, at_sequence + entry.place, entry.code & 15, entry.request_id, entry.code >> 20,
           nullif((entry.code >> 4) & 65535, 65535),
           substring(bodies FROM starts[entry.place] FOR starts[entry.place + 1] - starts[entry.place]),
           substring(hashes FROM 32 * entry.place::integer - 31 FOR 32)
    FROM unnest(codes, request_ids) WITH ORDINALITY AS entry (code, request_id, place);
    UPDATE counters SET
        held = counters.held + move.held, spent = counters.spent + move.spent,
        overage = counters.overage + move.overage, unconfirmed = counters.unconfirmed + move.unconfirmed,
        open = counters.open + move.open, alerted = greatest(counters.alerted, move.alerted)
    FROM unnest(numbers, held_by, spent_by, overage_by, unconfirmed_by, open_by, alerted_at)
        AS move (no, held, spent, overage, unconfirmed, open, alerted)
    WHERE counters.tree_no = of_tree AND counters.no = move.no;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(numbers) THEN
        RAISE EXCEPTION 'expected % counters, found %', cardinality(numbers), moved USING ERRCODE = 'data_corrupted';
    END IF;
    RETURN true;
END
$$;

DROP FUNCTION expect_equal;
