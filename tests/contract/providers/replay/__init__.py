"""Replays recorded vendor answers through the real adapters over real local HTTP.

    python -m tests.contract.providers.replay FOLDER [--splits 20] [--only TEXT]

Every recording of a supported family is served by a local HTTP server with its recorded status, headers and bytes,
asked for by a real attempt, and compared with an expectation that independent code derives from the raw body. Streams
are also split: at every position if they are short, one byte at a time always, and at seeded places over HTTP. Exits
with 1 unless all come out right; nothing is left out silently.
"""
