-- An attempt that began with an entry that has left and ended with one that is here would be half known: its id could be held
-- for again and then never settled. So its roles go with its beginning; what is hashed stays as it is.
DROP TRIGGER ledger_entries_append_only ON ledger_entries;
CREATE TRIGGER ledger_entries_append_only
    BEFORE UPDATE OF tree_no, sequence, kind, attempt, request_id, body, hash OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

CREATE FUNCTION only_left_attempts_are_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hold_sequence bigint := (convert_from(OLD.body, 'UTF8')::jsonb ->> 'h')::bigint;
BEGIN
    IF NEW.role IS NULL AND hold_sequence <= (SELECT max(until_sequence) FROM ledger_archives WHERE tree_no = OLD.tree_no) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER ledger_entries_forget_left BEFORE UPDATE OF role ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION only_left_attempts_are_forgotten();
