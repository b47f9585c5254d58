-- Old entries may leave once they were exported and a CHECKPOINT entry says the totals they came to.
CREATE TABLE ledger_archives (
    tree_no             integer NOT NULL REFERENCES trees,
    until_sequence      bigint NOT NULL,      -- the last entry that may leave
    checkpoint_sequence bigint NOT NULL,      -- the first of the entries that say the totals up to there
    checkpoint_entries  integer NOT NULL,
    archived_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tree_no, until_sequence)
);

-- Still append-only for any hand: what no checkpoint stands for does not leave. Inserts have no trigger.
DROP TRIGGER ledger_entries_append_only ON ledger_entries;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

CREATE FUNCTION only_archived_entries_leave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT tree_no, max(sequence) AS sequence FROM gone GROUP BY tree_no) AS newest
        WHERE sequence > coalesce(
            (SELECT max(until_sequence) FROM ledger_archives WHERE ledger_archives.tree_no = newest.tree_no), 0)
    ) THEN
        RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER ledger_entries_leave_archived AFTER DELETE ON ledger_entries
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION only_archived_entries_leave();
