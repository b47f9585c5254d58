-- What signs a webhook's deliveries is kept sealed by a key that is not in the database. A secret in clear was made before
-- that; it is sealed by the first replica that has a key, and signs until then.
ALTER TABLE webhooks
    ALTER COLUMN signing_secret DROP NOT NULL,
    ADD COLUMN sealed_secret bytea,
    ADD CONSTRAINT webhooks_one_secret CHECK (num_nonnulls(signing_secret, sealed_secret) = 1);
