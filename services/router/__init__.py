"""Decides which model answers a request, keeps the road to it safe, and explains itself.

Owns policies, model grants, aliases, decisions and what was learned of models. Four invariants: a decision is a pure
function of immutable snapshots, features and a seed; no model that policy forbids or that lacks what the request needs
is ever called, by whatever path; no attempt is dispatched without a hold, and each is settled exactly once; nothing is
resent after the first token unless the caller opted in. It owns neither money (budget) nor vendors (providers).
"""
