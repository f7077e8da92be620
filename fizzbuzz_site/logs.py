"""The service's lines on standard error: JSON, or for the eye on a terminal.

gunicorn's master writes them too, so nothing here may import Django or psycopg.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

# Of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_encode = json.JSONEncoder(default=str).encode
# What gunicorn says of a request that it can't read quotes it, secrets and all.
_QUOTES = re.compile(r"(Invalid request from ip=\S*(?=:)|Error handling request).*", re.DOTALL)


class _Stderr:
    """Takes a line whole or not at all: whoever reads it may fall asleep, and no request waits for that."""

    def __init__(self) -> None:
        self._fd = 2
        self._lost = 0
        mode = os.fstat(2).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                # Opened anew: not to wait would else become the habit of everyone who shares it.
                self._fd = os.open("/dev/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError:
                self._fd = 2

    def write(self, text: str) -> None:
        lost, self._lost = self._lost, 0
        try:
            os.write(self._fd, text.encode(errors="backslashreplace"))
        except OSError:  # full, or nobody reads it any more
            self._lost = lost + 1
        else:
            if lost:
                logging.getLogger(__name__).warning("Nobody read standard error: %s lines are missing here.", lost)

    def flush(self) -> None:
        """Nothing is kept back."""


stderr = cast("TextIO", _Stderr())


def requests(level: str, *, readable: bool) -> structlog.typing.FilteringBoundLogger:
    """For the line of each request; beside the standard library's logging, which took 52 µs for it instead of 14."""
    wrapper = structlog.make_filtering_bound_logger(level)
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stderr), [_framed, *_rendering(readable=readable)], wrapper_class=wrapper
    )
    return cast("structlog.typing.FilteringBoundLogger", logger.bind())


def configuration(level: str, *, readable: bool) -> dict[str, Any]:
    """Of the standard library's logging, for `dictConfig`."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [_from_logging, _framed, structlog.processors.format_exc_info, *_rendering(readable=readable)],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": stderr}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            # What it says of an answer below 500, the line of the request does.
            "django.request": {"level": "ERROR"},
            "gunicorn.error": {"handlers": ["stderr"], "propagate": False},
        },
    }


def _from_logging(logger: Any, level: str, event: EventDict) -> EventDict:
    name = event.pop("_record").name
    del event["_from_structlog"]
    event["logger"] = name
    if name == "gunicorn.error":
        event["event"] = _QUOTES.sub(r"\1", event["event"])
    elif name.startswith("django.security"):  # a refusal, which anyone can bring about
        event.pop("exc_info", None)
    return event


def _framed(logger: Any, level: str, event: EventDict) -> EventDict:
    """What each line begins with."""
    line: EventDict = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "event": event.pop("event"),
    }
    if known := request_id.get():
        line["request_id"] = known
    line.update(event)
    return line


def _rendering(*, readable: bool) -> list[Processor]:
    if not readable:
        return [_as_json]
    console = structlog.dev.ConsoleRenderer(
        colors=os.isatty(2),
        exception_formatter=structlog.dev.plain_traceback,
        pad_event_to=30,
        pad_level=False,
        sort_keys=False,
        timestamp_key="time",
    )
    return [_visible, console]


def _as_json(logger: Any, level: str, event: EventDict) -> str:
    line = _encode(event)
    while len(line) >= PIPE_BUF:  # what is longer might be torn on its way through a pipe; an exception's end says most
        longest = max(event, key=lambda name: len(str(event[name])))
        event[longest] = str(event[longest])[len(str(event[longest])) // 4 + 1 :]
        line = _encode(event)
    return line


def _visible(logger: Any, level: str, event: EventDict) -> EventDict:
    """Short, and nothing that would move the cursor or hide other text."""
    event["time"] = f"{datetime.fromisoformat(event['time']).astimezone():%H:%M:%S}"
    if event["event"] == "request":
        event["event"] = f"{event.pop('method')} {event.pop('route')} {event.pop('status')}"
    shown: Callable[[str], str] = lambda text: text.encode("unicode_escape").decode()  # noqa: E731 - short
    for name, value in event.items():
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            event[name] = "\n".join(map(shown, value.split("\n"))) if name == "exception" else shown(value)
    return event
