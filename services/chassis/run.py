"""The whole life of a process: arguments, settings, serving, draining.

It logs one line when it is ready. SIGTERM or SIGINT drains it (app.py says how); a second one, or one before it is
ready, ends it at once. It exits with 0 after draining, 1 if it could not serve, 2 if its settings are invalid.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
import uvloop

from services.chassis import garbage, logging
from services.chassis.app import App, serving
from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import Address, SettingsInvalid, describe, load

EXIT_FAILED = 1
EXIT_SETTINGS = 2  # as argparse does for wrong arguments

log = structlog.get_logger()


def run(app: App[Any], arguments: Sequence[str] | None = None) -> None:
    """Runs `app` until it is told to stop, then exits the process."""
    options = _parser(app).parse_args(arguments)
    settings = _settings(app, os.environ)
    if options.check_config:
        print(f"{app.name}: settings are valid")  # noqa: T201 - the answer to a person's question
        return
    logging.configure(app.name, level=settings.log_level, format=settings.log_format)
    sys.exit(uvloop.run(_serve_until_told(app, settings)))


def _parser(app: App[Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{app.name}",
        description=f"Turnpike's {app.name} service. The environment sets it up:",
        epilog=describe(app.settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check the environment's settings and exit"
    )
    parser.add_argument("--version", action="version", version=f"turnpike {version('turnpike')}")
    return parser


def _settings(app: App[Any], environment: Mapping[str, str]) -> Any:
    try:
        return load(app.settings, environment)
    except SettingsInvalid as invalid:
        print(f"{app.name}: invalid settings\n{invalid}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        sys.exit(EXIT_SETTINGS)


async def _serve_until_told(app: App[Any], settings: ServiceSettings) -> int:
    stop, ready = asyncio.Event(), asyncio.Event()
    service = asyncio.create_task(_serve(app, settings, stop, ready), name=app.name)

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set() or not ready.is_set():
            log.warning("stopping at once", signal=number.name)
            service.cancel()
        else:
            log.info("draining", signal=number.name, seconds_max=settings.drain_s)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await service
    except asyncio.CancelledError:
        return EXIT_FAILED
    except Exception:
        log.exception("cannot serve")
        return EXIT_FAILED
    return 0


async def _serve(app: App[Any], settings: ServiceSettings, stop: asyncio.Event, ready: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with serving(app, settings) as running:
        garbage.settle()
        if settings.ready_file is not None:
            _write(settings.ready_file, running.address)
        listening = {"listen": str(running.address), "metrics": running.metrics and str(running.metrics)}
        log.info("ready", **listening, seconds=round(loop.time() - begun, 3))
        ready.set()
        await stop.wait()
    log.info("stopped")


def _write(ready_file: Path, address: Address) -> None:
    # Whole or not at all: whoever waits for the file reads it as soon as it is there.
    unfinished = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    unfinished.write_text(f"{address}\n")
    unfinished.replace(ready_file)
