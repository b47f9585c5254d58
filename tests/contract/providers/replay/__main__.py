"""The command: see the package."""

import argparse
import asyncio
import sys
from pathlib import Path

from tests.contract.providers.replay.recording import load
from tests.contract.providers.replay.run import replay


def main() -> int:
    parser = argparse.ArgumentParser(prog="replay", description="Replays recorded vendor answers.")
    parser.add_argument("folder", type=Path, help="folder of recordings")
    parser.add_argument("--splits", type=int, default=20, help="seeded splits of each stream over HTTP")
    parser.add_argument("--only", default="", help="only recordings whose name contains this")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    recordings = [recording for recording in load(options.folder) if options.only in recording.name]
    if not recordings:
        parser.error(f"no recordings in {options.folder}")
    report = asyncio.run(replay(recordings, splits=options.splits))
    for line in report.lines():
        print(line)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
