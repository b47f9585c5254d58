"""The one way to a vendor: HTTP/1.1 on pooled connections, cut at once when the attempt ends early.

`client` sends and says what went wrong; `pool` opens connections and keeps idle ones; `connection` is one of them;
`inflate` reads answers that came compressed. llhttp parses, uvloop carries, Python's ssl verifies: what is written here
is the order of things, because only who owns it knows whether a byte of a request has left, and that decides money.
"""
