-- What decisions were made from, kept once and named by its content: decision records say the names.

CREATE TABLE decision_snapshot (
    snapshot_id bytea PRIMARY KEY,  -- the first 16 bytes of the content's SHA-256
    content     bytea NOT NULL,     -- compressed by the router
    used_on     date  NOT NULL      -- of the last decision that is known to name it
);
ALTER TABLE decision_snapshot ALTER COLUMN content SET STORAGE EXTERNAL;  -- it is compressed already

-- Retention looks for the old ones. Rows come in the order of their time, so ranges of pages say enough.
CREATE INDEX decision_by_age ON decision USING brin (decided_at);
