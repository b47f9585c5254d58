-- Alerts and their delivery.

-- name: lock_alerting
-- Whether this replica may alert now: one at a time, until its transaction ends.
SELECT pg_try_advisory_xact_lock(7205759404);

-- name: take_noticed
-- What owners noted, oldest first; taken away with this transaction, in which the alerts are made.
DELETE FROM outbox
USING trees
WHERE outbox.tree_no = trees.tree_no
    AND outbox_id IN (SELECT outbox_id FROM outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING trees.organisation_id, outbox.outbox_id, outbox.sequence, outbox.kind, outbox.facts, outbox.created_at;

-- name: insert_alert
-- Makes an alert, unless it was made before.
INSERT INTO alerts (
    alert_id, kind, organisation_id, team_id, budget_id, percent, message, occurred_at, ledger_sequence,
    delivered_at, once
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (once) DO NOTHING
RETURNING alert_id;

-- name: select_webhooks_of
-- Webhooks that hear of organisation $1.
SELECT webhook_id, organisation_id, url, kinds, chain_heads, sealed_secret, created_at
FROM webhooks WHERE organisation_id IS NULL OR organisation_id = $1;

-- name: select_chain_head_webhooks
-- Webhooks that are sent chain heads.
SELECT webhook_id, organisation_id, url, kinds, chain_heads, sealed_secret, created_at
FROM webhooks WHERE chain_heads;

-- name: delete_webhook
-- Removes a webhook, and what was still to be sent to it.
DELETE FROM webhooks WHERE webhook_id = $1;

-- name: insert_delivery
-- Something to send.
INSERT INTO deliveries (webhook_id, alert_id, body, due_at) VALUES ($1, $2, $3, $4);

-- name: claim_deliveries
-- What is due now, at most $2; nobody else takes it before $3 seconds have passed.
UPDATE deliveries SET attempts = attempts + 1, due_at = $1 + make_interval(secs => $3)
FROM webhooks
WHERE webhooks.webhook_id = deliveries.webhook_id AND delivery_id IN (
    SELECT delivery_id FROM deliveries WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING deliveries.delivery_id, deliveries.alert_id, deliveries.body, deliveries.attempts,
    webhooks.webhook_id, webhooks.organisation_id, webhooks.url, webhooks.signing_secret, webhooks.sealed_secret;

-- name: lock_webhook_secrets
-- All secrets of webhooks; nobody else seals them until this transaction ends.
SELECT webhook_id, organisation_id, signing_secret, sealed_secret FROM webhooks ORDER BY webhook_id FOR UPDATE;

-- name: seal_webhook_secret
-- Keeps a webhook's secret sealed, and in no other form.
UPDATE webhooks SET sealed_secret = $2, signing_secret = NULL WHERE webhook_id = $1;

-- name: finish_delivery
-- It was taken, or given up: nothing more to send.
DELETE FROM deliveries WHERE delivery_id = $1;

-- name: mark_delivered
-- A webhook took the alert.
UPDATE alerts SET delivered_at = coalesce(delivered_at, $2) WHERE alert_id = $1;

-- name: postpone_delivery
-- It was not taken: again at $2.
UPDATE deliveries SET due_at = $2 WHERE delivery_id = $1;

-- name: claim_chain_head_export
-- Whether chain heads are to be exported now: once in $1 seconds over all replicas.
UPDATE chain_head_exports SET exported_at = now()
WHERE exported_at < now() - make_interval(secs => $1)
RETURNING exported_at;

-- name: claim_sampling
-- Whether rates are to be looked at now, $1: once in $2 seconds over all replicas.
UPDATE sampling_turns SET taken_at = $1 WHERE taken_at <= $1::timestamptz - make_interval(secs => $2)
RETURNING taken_at;

-- name: tree_marks
-- How far each tree is: what changed since one looked last shows in it.
SELECT organisation_id, sequence, config_revision FROM trees;

-- name: budgets_to_sample
-- Of organisation $1 the budgets whose present windows (those that end after $2, in microseconds) are used most, at most $3.
SELECT counters.budget_id
FROM trees JOIN counters USING (tree_no)
WHERE trees.organisation_id = $1 AND counters.end_us > $2 AND counters.spent + counters.overage > 0
GROUP BY counters.budget_id
ORDER BY max((counters.spent + counters.overage)::numeric / greatest(counters.lim, 1)) DESC
LIMIT $3;

-- name: tree_mark
-- How far the tree of organisation $1 is.
SELECT sequence, config_revision FROM trees WHERE organisation_id = $1;

-- name: insert_samples
-- What budgets had spent at moment $1.
INSERT INTO budget_samples (budget_id, at, window_start, spent)
SELECT sample.budget_id, $1, sample.window_start, sample.spent
FROM unnest($2::text[], $3::timestamptz[], $4::bigint[]) AS sample (budget_id, window_start, spent)
ON CONFLICT DO NOTHING;

-- name: select_samples
-- What budgets $1 had spent since $2, oldest first.
SELECT budget_id, at, window_start, spent FROM budget_samples
WHERE budget_id = ANY ($1) AND at >= $2 ORDER BY at;

-- name: trim_samples
-- Forgets samples from before $1.
DELETE FROM budget_samples WHERE at < $1;
