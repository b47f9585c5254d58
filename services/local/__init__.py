"""Runs the whole of Turnpike on one machine that has nothing but Python.

It owns child processes and the state folder they live in: Postgres and Redis from wheels, the local model
servers, and Turnpike's services. Invariants: no child outlives the supervisor; a child that dies comes back;
nothing outside the state folder (and, as root, a folder of our own under `/var/lib/turnpike`) is created or
loosened; a DSN or URL in the environment replaces what would have been started.

It is not a production process manager: there, containers and managed databases do this work.
"""
