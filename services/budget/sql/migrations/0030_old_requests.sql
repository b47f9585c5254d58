-- Answers to old requests of admins are forgotten (trim_requests): found by age.
CREATE INDEX admin_requests_by_age ON admin_requests (created_at);
