"""How many streams one core relays: lag of each token between the vendor's write and the caller's read.

    python -m bench.relay [--streams 50,100,200,400,600] [--tokens-per-second 50] [--seconds 5] [--open 2000]

Three processes: a vendor that writes the time into each token, the providers service pinned to one core, and this
one, which calls it over one Dispatch stream and reads the clock when a token arrives. Prints the curve: lag at the
median and at the 99th percentile, CPU and memory of the service; then its memory with `--open` streams open at the
same time that say one token a second. Where vendor and caller share few cores with it,
their own lag is in the figures too: they are an upper bound.
"""
