-- What applications said of answers, in the order in which it was learned. Replicas learn it in the same order, so all of
-- them expect the same.
CREATE TABLE feedback (
    sequence        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id text NOT NULL,
    feedback_id     text NOT NULL,
    content_hash    bytea NOT NULL,
    decision_id     text NOT NULL,
    model           text NOT NULL,
    belief          jsonb NOT NULL,
    expected        double precision NOT NULL,
    outcome         double precision NOT NULL CHECK (outcome BETWEEN 0 AND 1),
    weight          double precision NOT NULL CHECK (weight > 0 AND weight <= 1),
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, feedback_id)
);
