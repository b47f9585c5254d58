"""Postgres as the budget service uses it."""
