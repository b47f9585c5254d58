"""The world's side of the ports: Postgres and the budget service."""
