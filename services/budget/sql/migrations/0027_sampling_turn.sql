-- When rates were last looked at: one replica a minute does, whichever comes first.
CREATE TABLE sampling_turns (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    taken_at timestamptz NOT NULL
);
INSERT INTO sampling_turns (taken_at) VALUES (to_timestamp(0));
