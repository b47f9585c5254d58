"""`make scenario`: what a person gains who puts Turnpike between four applications and their vendors.

Real services (two replicas of router, budget and providers; analytics, Postgres, Redis), simulated vendors. The
applications run through all of it and change nothing; the operator's three changes are made by RPC. Prints cost,
latency, quality, where the traffic went and why, before and after each; ends with 1 if a request failed, a policy was
violated or the books do not agree to the nano.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from bench.scenario.report import report
from bench.scenario.run import Options, play


def main() -> None:
    """Plays and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.scenario", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=25.0, help="measured seconds of each of the four phases"
    )
    parser.add_argument(
        "--rate", type=float, default=16.0, help="requests a second, all applications together"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=2, help="of router, budget and providers each")
    parser.add_argument("--keep", type=Path, help="folder for logs; absent: a temporary one")
    given = parser.parse_args()
    options = Options(given.seconds, given.rate, given.seed, given.replicas)
    with tempfile.TemporaryDirectory(prefix="turnpike-scenario-") as temporary:
        played = uvloop.run(
            play(options, given.keep or Path(temporary), say=lambda line: print(line, flush=True))
        )
    print(report(played))
    sys.exit(1 if played.problems else 0)


if __name__ == "__main__":
    main()
