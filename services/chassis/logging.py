"""Logs: one line an event, with the trace it belongs to, as JSON or for people.

    log = structlog.get_logger()
    log.info("hold expired", hold_id=hold.id, nanos=hold.nanos)

The event is a short constant sentence, everything variable is a field. Prompts, answers and secrets are never logged;
should a token of ours slip into a field all the same, it is blotted out at the last step.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from services.chassis import tracing

# Our tokens' prefixes, the bearer scheme, and passwords inside of URLs.
_SECRET = re.compile(r"\b(tp[kas]_)[A-Za-z0-9_\-]+|(?i:(bearer )[^\s\"]+)|(\w+://[^:/\s\"]+:)[^@/\s\"]+(?=@)")
# Libraries that speak at INFO of what is none of an operator's business.
_TALKATIVE = ("asyncio", "aiohttp", "botocore", "grpc", "urllib3")

_encoder = msgspec.json.Encoder(enc_hook=str)


def configure(service: str, *, level: str, format: str) -> None:
    """Sets up logging of this process, for structlog and for libraries that use the standard library's."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _ServiceName(service),
        _add_trace,
        structlog.processors.format_exc_info,
    ]
    last: Processor = _as_json if format == "json" else _blotted_console()
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def blot(line: str) -> str:
    """`line` without tokens, bearer credentials and passwords in URLs."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2] or found[3]}…", line)


class _ServiceName:
    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, logger: Any, method: str, event: EventDict) -> EventDict:
        event["service"] = self._service
        return event


def _add_trace(logger: Any, method: str, event: EventDict) -> EventDict:
    span = tracing.current()
    if span is not None:
        event["trace_id"] = span.trace_id_hex
        event["span_id"] = f"{span.span_id:016x}"
    return event


def _as_json(logger: Any, method: str, event: EventDict) -> str:
    return blot(_encoder.encode(event).decode())


def _blotted_console() -> Processor:
    render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())

    def console(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return blot(render(logger, method, event))

    return console
