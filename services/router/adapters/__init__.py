"""How the router reaches other services and stores; their errors become ours here."""
