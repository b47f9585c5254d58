"""BudgetAdminService, put together of one file for each group of its RPCs."""
