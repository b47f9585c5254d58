"""Measures the budget service: pairs of hold and commit, end to end, on this machine."""
