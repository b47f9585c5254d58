"""Knows who consumes what, what it costs, what it would have cost otherwise, and why it went where it went.

It owns decision records, which routers send at least once, and usage entries, which it reads from the ledger by
sequence. Invariants: usage is never counted from anywhere but the ledger, so its sums equal the ledger's; recording or
reading a thing again changes nothing; an admin sees his organisation or team and nothing else. It decides nothing and
moves no money: if it is down, requests go on, and it catches up from where it stopped.
"""
