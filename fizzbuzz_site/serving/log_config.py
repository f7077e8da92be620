"""Log lines on standard error: JSON, or human-readable on a terminal.

gunicorn's master imports this module too, so nothing here may import Django or psycopg.
"""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from fizzbuzz.request_id import request_id
from fizzbuzz_site.serving.stderr import NonBlockingStderr

stderr = cast("TextIO", NonBlockingStderr())

_encode = json.JSONEncoder(default=str).encode
# gunicorn's messages about an invalid request quote it, including any secret in it.
_QUOTES = re.compile(r"(Invalid request from ip=\S*(?=:)|Error handling request).*", re.DOTALL)


def request_logger(level: str, *, readable: bool) -> FilteringBoundLogger:
    """Return a logger for the line of each request. The standard library's logging takes twice the time per line."""
    wrapper = structlog.make_filtering_bound_logger(level)
    processors = [_order, *_renderers(readable=readable)]
    logger = structlog.wrap_logger(structlog.WriteLogger(stderr), processors, wrapper_class=wrapper)
    return cast("FilteringBoundLogger", logger.bind())


def configuration(level: str, *, readable: bool) -> dict[str, Any]:
    """Return the configuration of the standard library's logging, for `dictConfig`."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [_from_logging, _order, structlog.processors.format_exc_info, *_renderers(readable=readable)],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "filters": {"traceback": {"()": _WithTraceback}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": stderr}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            # Without a traceback, its lines repeat the request's.
            "django.request": {"level": "ERROR", "filters": ["traceback"]},
            "psycopg": {"level": "ERROR"},  # its pools warn of each attempt to connect
            "gunicorn.error": {"handlers": ["stderr"], "propagate": False},
        },
    }


class _WithTraceback(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


def _from_logging(logger: Any, level: str, event: EventDict) -> EventDict:
    name = event.pop("_record").name
    del event["_from_structlog"]
    event["logger"] = name
    if name == "gunicorn.error":
        event["event"] = _QUOTES.sub(r"\1", event["event"])
    elif name.startswith("django.security"):  # a rejected request, which any client can cause: no traceback
        event.pop("exc_info", None)
    return event


def _order(logger: Any, level: str, event: EventDict) -> EventDict:
    """Put the fields that every line has first."""
    line: EventDict = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "event": event.pop("event"),
    }
    if current := request_id.get():
        line["request_id"] = current
    return {**line, **event}


def _renderers(*, readable: bool) -> list[Processor]:
    if not readable:
        return [_as_json]
    console = structlog.dev.ConsoleRenderer(
        colors=os.isatty(2),
        exception_formatter=structlog.dev.plain_traceback,
        pad_level=False,
        sort_keys=False,
        timestamp_key="time",
    )
    return [_shorten_and_escape, console]


def _as_json(logger: Any, level: str, event: EventDict) -> str:
    line = _encode(event)
    # Longer writes to a pipe are not atomic. Keep the end of a field, where a traceback has its error.
    while len(line) >= PIPE_BUF:
        longest = max(event, key=lambda name: len(str(event[name])))
        event[longest] = str(event[longest])[len(str(event[longest])) // 4 + 1 :]
        line = _encode(event)
    return line


def _shorten_and_escape(logger: Any, level: str, event: EventDict) -> EventDict:
    """Shorten a line for people, and escape control characters, which could move the cursor or hide other text."""
    event["time"] = f"{datetime.fromisoformat(event['time']).astimezone():%H:%M:%S}"
    if event["event"] == "request":
        event["event"] = f"{event.pop('method')} {event.pop('route')} {event.pop('status')}"
    for name, value in event.items():
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            lines = value.split("\n") if name == "exception" else [value]
            event[name] = "\n".join(line.encode("unicode_escape").decode() for line in lines)
    return event
