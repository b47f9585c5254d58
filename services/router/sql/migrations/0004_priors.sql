-- Priors that admins have put in force, whole: a router that starts needs nothing but its store.
CREATE TABLE priors (
    version     text PRIMARY KEY,
    content     bytea NOT NULL CHECK (length(content) <= 2000000),
    findings    jsonb NOT NULL,
    promoted_by text NOT NULL,
    promoted_at timestamptz NOT NULL
);

-- The one in force; 'shipped' is the one that comes with the router.
CREATE TABLE prior_in_force (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version  text NOT NULL
);
INSERT INTO prior_in_force (version) VALUES ('shipped');

-- An outcome is a surprise against what a prior expected, and counts while that prior is in force. What was learned before
-- this column was a surprise against no prior that can be named.
ALTER TABLE feedback ADD COLUMN prior text NOT NULL DEFAULT '';
CREATE INDEX feedback_by_prior ON feedback (prior, sequence);
