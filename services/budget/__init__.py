"""Holds money before a model is called and settles it afterwards; its limits hold.

Owns organisations, teams, projects, users, keys, admin tokens, budgets, the price book and the ledger. Invariants: no
admission takes `spent + held + overage` above the limit in force; silence is charged; the ledger is append-only and
chained, and every total derives from it; what was acknowledged is in it. It is not a proxy: it sees no prompt and calls
no vendor.
"""
