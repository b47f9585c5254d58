"""`python -m tests.chaos.fallback`: vendors stall, cut, limit, fail and recover under load, on several replicas.

Whoever some permitted model can serve within the deadline must be served; nothing may be spliced, forbidden or
incapable models never called, attempts bounded; wire, ledger, decisions and traces must tell the same, attempt by
attempt. Prints the figures; exits with 1 unless all of it holds.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.chaos.fallback.run import chaos
from tests.chaos.fallback.verdict import Options, report


def main() -> None:
    """Runs it."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fallback", description=__doc__)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--rate", type=float, default=default.rate, help="requests a second")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--replicas", type=int, default=default.replicas, help="of router, providers and budget each"
    )
    parser.add_argument("--keep", type=Path, help="folder for logs; absent: a temporary one")
    given = parser.parse_args()
    options = Options(given.seconds, given.rate, given.seed, given.replicas)
    with tempfile.TemporaryDirectory(prefix="turnpike-fallback-") as temporary:
        outcome = uvloop.run(chaos(options, given.keep or Path(temporary)))
    print(report(outcome))
    sys.exit(0 if outcome.passed else 1)


if __name__ == "__main__":
    main()
