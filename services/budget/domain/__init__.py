"""Holds, budgets and the ledger as values and pure decisions."""
