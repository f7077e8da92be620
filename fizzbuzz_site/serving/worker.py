"""gunicorn's gevent worker, which also closes idle connections when it stops, and survives broken code.

gunicorn has no hooks for that, so methods of its worker are overridden that are not documented. gunicorn's master
imports this module, so nothing here may import Django.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from socket import SHUT_RD
from socket import socket as plain_socket  # imported before gevent patches it
from typing import Any
from weakref import WeakSet

import gevent
from gevent.socket import socket
from gunicorn.workers.ggevent import GeventWorker

FIRST_REQUEST_TIMEOUT_SECONDS = 1  # of a connection that was accepted while the worker stops
RETRY_DELAY_SECONDS = 5  # before a worker that can't load the application is replaced


class Connection(socket):  # type: ignore[misc]  # gevent has no types
    """A client's connection. The hooks in gunicorn.py set its attributes before and after a request."""

    idle = True  # while it waits for the first byte of a request
    body_deadline: float | None = None  # time.monotonic(); None while it waits for a request or its headers

    def recv(self, *args: Any) -> bytes:
        if self.body_deadline is None:
            data: bytes = super().recv(*args)
        else:
            with gevent.Timeout(max(self.body_deadline - time.monotonic(), 0), TimeoutError):
                data = super().recv(*args)
        self.idle = False
        return data

    def end_if_idle(self) -> None:
        """Make the read that waits for a request return EOF. A request that has already arrived gets its response."""
        if self.idle:
            # gevent's own shutdown would raise in the greenlet that reads.
            with suppress(OSError), plain_socket(fileno=os.dup(self.fileno())) as connection:
                connection.shutdown(SHUT_RD)


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    metrics_slot: int | None = None
    _quitting = False
    _connections: WeakSet[Connection] = WeakSet()  # there is one worker per process

    def load_wsgi(self) -> None:
        try:
            super().load_wsgi()
        except Exception:
            if self.age == 1:  # at the start: gunicorn exits
                raise
            # gunicorn would exit here too, although other workers may still serve.
            self.log.exception("New worker can't load the application. Next attempt in %s s", RETRY_DELAY_SECONDS)
            deadline = time.monotonic() + RETRY_DELAY_SECONDS
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.1)
            raise SystemExit(1) from None

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        connection = Connection(client.family, client.type, client.proto, client.detach())
        self._connections.add(connection)
        super().handle(listener, connection, addr)

    def timeout_ctx(self) -> gevent.Timeout:
        """Return the timeout for a connection's next request."""
        return gevent.Timeout(self.cfg.keepalive if self.alive else FIRST_REQUEST_TIMEOUT_SECONDS, False)  # noqa: FBT003 - positional-only

    def handle_quit(self, sig: int, frame: Any) -> None:
        # gunicorn's own handler also ends `run`, so its SystemExit may come at Python's exit, which logs it. So would a
        # second one: Ctrl-C in a terminal reaches the workers from there and from the master.
        if not self._quitting:
            self._quitting = True  # before any call, in which the other signal's handler could run
            gevent.spawn_later(0.1, sys.exit, 0)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        for connection in list(self._connections):
            gevent.spawn(connection.end_if_idle)  # not in the signal handler, which can interrupt any greenlet
