-- The ablest model that was permitted for a request, read from its decision record when savings are first asked for it.
-- Empty: no permitted model had a known quality.
CREATE TABLE ablest_model (
    organisation_id text NOT NULL,
    request_id      text NOT NULL,
    model           text NOT NULL,
    PRIMARY KEY (organisation_id, request_id)
);
