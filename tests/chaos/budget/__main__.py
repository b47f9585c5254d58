"""`python -m tests.chaos.budget`: kills what holds money up, over and over, and then asks whether anything was lost.

A kill counts only while acknowledged holds are open. Prints kills, operations, overshoot, lost, unconfirmed and the
gaps until the service answered again; exits with 1 unless every money figure is as it must be.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.chaos.budget.run import Options, chaos, report


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.budget", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="kills that count")
    parser.add_argument("--seconds", type=float, default=1800.0, help="at most so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--routers", type=int, default=2)
    parser.add_argument("--callers", type=int, default=24, help="callers in each router")
    parser.add_argument("--keep", type=Path, help="folder for logs; absent: a temporary one")
    arguments = parser.parse_args()
    options = Options(
        kills=arguments.kills,
        seconds=arguments.seconds,
        seed=arguments.seed,
        replicas=arguments.replicas,
        routers=arguments.routers,
        callers=arguments.callers,
    )
    with tempfile.TemporaryDirectory(prefix="turnpike-chaos-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = uvloop.run(chaos(options, folder))
    print(report(outcome))
    sys.exit(0 if outcome.passed else 1)


if __name__ == "__main__":
    main()
