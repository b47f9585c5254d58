-- When the last entry was decided that may have left: what is later is whole.
ALTER TABLE ledger_archives ADD COLUMN until_us bigint;
UPDATE ledger_archives SET until_us = (extract(epoch FROM archived_at) * 1000000)::bigint;  -- never too early
ALTER TABLE ledger_archives ALTER COLUMN until_us SET NOT NULL;

-- Of an attempt that was open where the ledger is cut nothing may be found, neither its end nor its beginning: while that is
-- still to be removed, its id would be neither free nor anybody's.
CREATE OR REPLACE FUNCTION only_left_attempts_are_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    began bigint := coalesce((convert_from(OLD.body, 'UTF8')::jsonb ->> 'h')::bigint, OLD.sequence);
BEGIN
    IF NEW.role IS NULL AND began <= (SELECT max(until_sequence) FROM ledger_archives WHERE tree_no = OLD.tree_no) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
