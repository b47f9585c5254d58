"""What an adapter costs: CPU per call and per streamed piece, beside the raw HTTP client and the vendor's own SDK.

    python -m bench.adapters [--calls 300] [--streams 60] [--pieces 200]

All three talk to the same local server, which runs in a process of its own and answers with the same bytes. Counted is
the CPU time of this process, so that the server's does not count. Prints a table; changes nothing.
"""
