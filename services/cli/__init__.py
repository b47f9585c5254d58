"""The `turnpike` command: the stack for people, on a terminal or in a script.

It owns no behaviour: every command calls an RPC or the local supervisor and prints. Output is for people unless
`--json` is given; without a terminal it has no colours, no cursor tricks and whole lines.
"""
