"""What an adapter costs: CPU per call and per streamed piece, beside raw HTTP clients and the vendor's own SDK.

    python -m bench.adapters [--calls 300] [--streams 60] [--pieces 200]

`aiohttp` is the client most Python programs would use, sending and reading the same bytes and making nothing of them;
`plain` is our own client used like that. All talk to the same local server, which runs in a process of its own
and answers with the same bytes. Counted is the CPU time of this process, so that the server's does not count; the
figures are medians of rounds that take turns. Prints a table; changes nothing.
"""
