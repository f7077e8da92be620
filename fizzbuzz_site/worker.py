"""gunicorn's gevent worker, with what it lacks: idle connections end with it, and broken code does not end the service.

gunicorn's master imports this module, so nothing here may import Django.
"""

from __future__ import annotations

import time
from contextlib import suppress
from socket import SHUT_RD
from typing import Any

import gevent
from gevent.socket import socket
from gunicorn.workers.ggevent import GeventWorker

FIRST_REQUEST_SECONDS = 1  # for the first request of a connection that is accepted while the worker stops
RETRY_SECONDS = 5  # before a worker that can't load the application is replaced


class Connection(socket):  # type: ignore[misc]  # gevent has no types
    """A client's connection that knows whether it waits for the first byte of a request."""

    idle = False

    def recv(self, *args: Any) -> bytes:
        data: bytes = super().recv(*args)
        self.idle = False
        return data

    def end_if_idle(self) -> None:
        """Make the read that waits for a request return the end of the stream. What has arrived is still answered."""
        if self.idle:
            with suppress(OSError):  # the client has closed it
                self._sock.shutdown(SHUT_RD)  # gevent's own shutdown would raise in the greenlet that reads


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    metrics_slot: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[gevent.Greenlet, Connection] = {}

    def load_wsgi(self) -> None:
        try:
            super().load_wsgi()
        except Exception:
            if self.age == 1:  # gunicorn ends the service
                raise
            # gunicorn would end the service here too, although other workers may be serving.
            self.log.exception("The new worker can't load the application; the next try is in %s s", RETRY_SECONDS)
            ends = time.monotonic() + RETRY_SECONDS
            while self.alive and time.monotonic() < ends:  # a stop ends it
                time.sleep(0.1)
            raise SystemExit(1) from None

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        connection = Connection(client.family, client.type, client.proto, client.detach())
        self._connections[gevent.getcurrent()] = connection
        try:
            super().handle(listener, connection, addr)
        finally:
            del self._connections[gevent.getcurrent()]

    def timeout_ctx(self) -> gevent.Timeout:
        """Return the timeout of the wait for a connection's next request."""
        self._connections[gevent.getcurrent()].idle = True
        return gevent.Timeout(self.cfg.keepalive if self.alive else FIRST_REQUEST_SECONDS, False)  # noqa: FBT003 - its only way

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._end_idle_connections)  # outside of the signal handler, which runs in any greenlet

    def _end_idle_connections(self) -> None:
        for connection in list(self._connections.values()):
            connection.end_if_idle()
