"""Log lines on standard error: JSON, or human-readable on a terminal. A stalled reader never blocks a request.

gunicorn's master imports this module too, so nothing here may import Django or psycopg.
"""

import json
import logging
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from select import PIPE_BUF

# Imported before gevent patches it: gevent would make the shared fd non-blocking.
from socket import MSG_DONTWAIT, socket
from typing import Any

from fizzbuzz.request_id import request_id

_encode = json.JSONEncoder(default=str).encode
# gunicorn's messages about an invalid request quote it, including any secret in it.
_QUOTES = re.compile(r"(Invalid request from ip=\S*(?=:)|Error handling request).*", re.DOTALL)
_COLORS = {"warning": "\x1b[33m", "error": "\x1b[31m"} if os.isatty(2) and not os.environ.get("NO_COLOR") else {}
_NO_COLOR = "\x1b[0m" if _COLORS else ""


class NonBlockingStderr:
    """Writes a line atomically or drops it."""

    def __init__(self, fd: int = 2) -> None:
        self._send = _non_blocking(fd)
        self._unsent = b""  # the rest of a partly sent line, to be sent before any other
        self._dropped = 0

    def write(self, text: str) -> None:
        dropped, self._dropped = self._dropped, 0
        line = text.encode(errors="backslashreplace")
        try:
            if self._unsent:
                self._unsent = self._unsent[self._send(self._unsent) :]
            if self._unsent:
                raise BlockingIOError
            self._unsent = line[self._send(line) :]
        except OSError:  # full, or closed by the reader
            self._dropped = dropped + 1
        else:
            if dropped:
                logging.getLogger(__name__).warning("stderr was blocked: %s log lines dropped.", dropped)


def _non_blocking(fd: int) -> Callable[[bytes], int]:
    """Return a non-blocking function that writes to `fd`. It returns the number of bytes written, or raises OSError.

    Writes of up to PIPE_BUF bytes to a pipe or a Unix socket (such as systemd's journal) are atomic, so processes
    that share one do not mix their lines.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket(fileno=os.dup(fd))
        return lambda data: connection.send(data, MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # Reopen: O_NONBLOCK is shared by all processes with the same open file description.
        with suppress(OSError):
            fd = os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return lambda data: os.write(fd, data)


stderr = NonBlockingStderr()


def request_logger(level: str, *, readable: bool) -> Callable[..., None]:
    """Return a function that logs a request with these fields. The standard library's logging takes twice the time."""

    def log(**fields: Any) -> None:
        if level == "info":
            stderr.write(_line("info", "request", fields, readable=readable) + "\n")

    return log


def configuration(level: str, *, readable: bool) -> dict[str, Any]:
    """Return the configuration of the standard library's logging, for `dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": _Formatter, "readable": readable}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": stderr}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            # Without an exception, its lines repeat the request's.
            "django.request": {"filters": [lambda record: bool(record.exc_info)]},
            "psycopg.pool": {"level": "ERROR"},  # it warns of each attempt to connect; an outage is logged once
            "gunicorn.error": {"handlers": ["stderr"], "propagate": False},
        },
    }


class _Formatter(logging.Formatter):
    def __init__(self, *, readable: bool) -> None:
        super().__init__()
        self._readable = readable

    def format(self, record: logging.LogRecord) -> str:
        event, fields = record.getMessage(), {"logger": record.name}
        if record.name == "gunicorn.error":
            event = _QUOTES.sub(r"\1", event)
        # django.security reports a rejected request, which any client can cause: no traceback.
        if record.exc_info and not record.name.startswith("django.security"):
            fields["exception"] = self.formatException(record.exc_info)
        return _line(record.levelname.lower(), event, fields, readable=self._readable)


def _line(level: str, event: str, fields: dict[str, Any], *, readable: bool) -> str:
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event}
    if current := request_id.get():
        line["request_id"] = current
    return _for_people(line | fields) if readable else _as_json(line | fields)


def _as_json(fields: dict[str, Any]) -> str:
    line = _encode(fields)
    # Longer writes to a pipe are not atomic. Keep the end of a field, where a traceback has its error.
    while len(line) >= PIPE_BUF:
        longest = max(fields, key=lambda name: len(str(fields[name])))
        fields[longest] = str(fields[longest])[len(str(fields[longest])) // 4 + 1 :]
        line = _encode(fields)
    return line


def _for_people(fields: dict[str, Any]) -> str:
    """Return a shorter line. Control characters, which could move the cursor or hide other text, are escaped."""
    time = f"{datetime.fromisoformat(fields.pop('time')).astimezone():%H:%M:%S}"
    level, event, exception = fields.pop("level"), fields.pop("event"), fields.pop("exception", "")
    if event == "request":
        event = f"{fields.pop('method')} {fields.pop('route')} {fields.pop('status')}"
    rest = " ".join(f"{name}={value}" for name, value in fields.items())
    first, *lines = map(_escape, (f"{event:30} {rest}", *exception.splitlines()))
    return "\n".join([f"{time} {_COLORS.get(level, '')}[{level}]{_NO_COLOR} {first}", *lines])


def _escape(text: str) -> str:
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode()
