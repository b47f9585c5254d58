-- A claim reads what changes limits for a whole organisation, and does not name its budgets one by one.
CREATE INDEX budget_overrides_by_organisation ON budget_overrides (organisation_id);
CREATE INDEX budget_transfers_by_organisation ON budget_transfers (organisation_id);
