-- The ledger and what is kept beside it so that nobody has to sum it up: trees, counters, leases.
--
-- Three lines, each enough by itself, keep a limit:
--   1. the fence: a statement of the owner changes the tree's row only where epoch, sequence and configuration revision
--      are those it decided by;
--   2. the ledger's keys: a sequence, and a role of an attempt, exist once;
--   3. the counters' CHECK: held + spent never pass the ceiling, whoever writes.
-- Lock order: the tree's row before anything else of the tree.

-- Replicas of the service that are alive. A lease for liveness alone: no figure depends on a clock.
CREATE TABLE replicas (
    replica_id  text PRIMARY KEY,
    address     text NOT NULL,
    alive_until timestamptz NOT NULL
);

-- One row for each organisation: who decides for it, and how far its ledger is.
CREATE TABLE trees (
    tree_no         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL UNIQUE,
    epoch           bigint NOT NULL DEFAULT 0,   -- rises with each owner
    sequence        bigint NOT NULL DEFAULT 0,   -- of the last entry
    head            bytea NOT NULL DEFAULT '',   -- its hash; empty before the first
    next_counter    integer NOT NULL DEFAULT 1,
    last_at_us      bigint NOT NULL DEFAULT 0,   -- when the last batch was decided; time never goes back in a tree
    config_revision bigint NOT NULL DEFAULT 0,   -- rises with each change by an admin
    owner_id        text,
    owner_address   text,
    secret          bytea NOT NULL               -- signs leases
) WITH (fillfactor = 10);                        -- changed by every batch: updates stay within the page

-- What an admin changed since which revision, for the owner to read again.
CREATE TABLE config_changes (
    tree_no         integer NOT NULL REFERENCES trees,
    config_revision bigint NOT NULL,
    kind            text NOT NULL,
    id              text NOT NULL,
    PRIMARY KEY (tree_no, config_revision, kind, id)
);

CREATE TABLE ledger_entries (
    tree_no    integer NOT NULL,
    sequence   bigint NOT NULL,
    kind       smallint NOT NULL,
    attempt    integer NOT NULL,
    role       smallint,                         -- hold 0, settle 1, correct 2, extension 10 + number; null: others
    request_id text COLLATE "C" NOT NULL,
    body       bytea NOT NULL,                   -- JSON, see docs/ledger.md; exactly these bytes are hashed
    hash       bytea NOT NULL,
    PRIMARY KEY (tree_no, sequence)
);

CREATE UNIQUE INDEX ledger_entries_by_attempt ON ledger_entries (tree_no, request_id, attempt, role)
    WHERE role IS NOT NULL;

-- Append-only, also for a careless hand.
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

-- One window of one budget. Derived from the ledger and changed in the same statement.
CREATE TABLE counters (
    tree_no     integer NOT NULL,
    no          integer NOT NULL,
    budget_id   text NOT NULL,
    unit        smallint NOT NULL CHECK (unit BETWEEN 1 AND 4),
    start_us    bigint NOT NULL,
    end_us      bigint NOT NULL,                 -- 2^62: never
    lim         bigint NOT NULL CHECK (lim >= 0),
    ceiling     bigint NOT NULL,                 -- the limit, or what was held and spent when it was lowered
    held        bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    spent       bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    overage     bigint NOT NULL DEFAULT 0 CHECK (overage >= 0),
    unconfirmed bigint NOT NULL DEFAULT 0 CHECK (unconfirmed >= 0),
    open        integer NOT NULL DEFAULT 0 CHECK (open >= 0),
    alerted     integer NOT NULL DEFAULT 0,      -- highest percentage alerted
    PRIMARY KEY (tree_no, no),
    UNIQUE (tree_no, budget_id, start_us),
    CONSTRAINT counters_within_ceiling CHECK (held + spent <= ceiling)
) WITH (fillfactor = 40);

CREATE INDEX counters_by_end ON counters (tree_no, end_us);

-- Which holds were open at a sequence, so that an owner need not read the whole ledger to begin.
CREATE TABLE checkpoints (
    tree_no        integer PRIMARY KEY REFERENCES trees,
    sequence       bigint NOT NULL,
    open_sequences bigint[] NOT NULL
);

-- Leases that were renewed; the entry of the hold has the first.
CREATE TABLE lease_renewals (
    tree_no       integer NOT NULL,
    hold_sequence bigint NOT NULL,
    expires_us    bigint NOT NULL,
    PRIMARY KEY (tree_no, hold_sequence)
);

-- What people must be told, written with what made it so: thresholds, overage, unconfirmed charges, shadow refusals.
CREATE TABLE outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tree_no    integer NOT NULL,
    sequence   bigint NOT NULL,
    kind       text NOT NULL,
    facts      jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Fails the statement, and with it the batch, where a figure is not what the owner expects.
CREATE FUNCTION expect_equal(counted bigint, expected bigint, what text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF counted IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'expected % %, found %', expected, what, counted USING ERRCODE = 'data_corrupted';
    END IF;
    RETURN counted;
END
$$;
