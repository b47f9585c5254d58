"""Makes one call to one model of any vendor, and says exactly what it cost or why it failed.

Owns endpoints, credentials, the catalogue and the health of endpoints. Three invariants: it never resends a request
whose bytes have left; every attempt ends with a usage, or with a rule that says what to charge; what the application
wrote and what the model said are in no log. It is not a router: it decides neither which model is asked nor whether
a failed call is tried again.
"""
