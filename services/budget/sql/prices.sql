-- The price book. Prices are added, never changed.

-- name: raise_price_revision
-- The next revision of the book; its row stays locked until the change commits.
UPDATE price_head SET revision = revision + 1 RETURNING revision;

-- name: price_revision
-- The newest revision.
SELECT revision FROM price_head;

-- name: insert_price
-- Adds a price.
INSERT INTO prices (
    price_id, organisation_id, model, effective_from, effective_until, tiers, currency_code, source, revision,
    created_at, imported
) VALUES ($1, $2, $3, $4, $5, $6::jsonb, 'USD', $7, $8, $9, $10);

-- name: select_prices
-- List prices and, where $1 is not null, the organisation's own; of models $2 where that is not null.
SELECT
    price_id, organisation_id, model, effective_from, effective_until, tiers, source, revision, created_at,
    imported
FROM prices
WHERE (organisation_id IS NULL OR organisation_id = $1) AND ($2::text[] IS NULL OR model = ANY ($2))
ORDER BY model, revision;

-- name: select_organisation_ids
-- Whose trees a list price concerns, in the order in which they are locked.
SELECT organisation_id FROM organisations ORDER BY organisation_id;
