"""gunicorn's gevent worker, which also bounds what clients may hold, closes idle connections, and survives broken code.

gunicorn has no hooks for that, so methods of its worker are overridden that are not documented. gunicorn's master
imports this module, so nothing here may import Django.
"""

import os
import time
from collections import Counter
from contextlib import suppress
from socket import SHUT_RD, SHUT_RDWR
from socket import socket as plain_socket  # imported before gevent patches it
from typing import Any

import gevent
from gevent.socket import socket
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers.ggevent import GeventWorker

MAX_HEAD_BYTES = 32 * 1024  # of a request line with its headers; nginx accepts as much
MAX_CONNECTIONS_SHARE = 0.9  # of worker_connections; above it, each new connection ends one that waits for its client
FIRST_REQUEST_TIMEOUT_SECONDS = 1  # of a connection that was accepted while the worker stops
RETRY_DELAY_SECONDS = 5  # before a worker that can't load the application is replaced


class Connection(socket):  # type: ignore[misc]  # gevent has no types
    """A client's connection. slow_clients.py sets its attributes before and after a request."""

    waits_for: int | None = None  # SHUT_RD while it waits for bytes from the client, SHUT_RDWR while it sends
    head_bytes = 0  # received of a request's line and headers
    body_deadline: float | None = None  # time.monotonic(); None while it waits for a request or its headers

    def recv(self, *args: Any) -> bytes:
        self.waits_for = SHUT_RD
        try:
            if self.body_deadline is not None:
                gevent.sleep(0)  # a body in chunks of one byte would block other requests for seconds
                with gevent.Timeout(max(self.body_deadline - time.monotonic(), 0), TimeoutError):
                    return super().recv(*args)
            data: bytes = super().recv(*args)
        finally:
            self.waits_for = None
        self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES:  # gunicorn would accept 512 KB, and scan all of it at each read
            raise LimitRequestHeaders("request line and headers")
        return data

    def sendall(self, *args: Any) -> None:
        self.waits_for = SHUT_RDWR
        try:
            super().sendall(*args)
        finally:
            self.waits_for = None

    def end_wait(self) -> None:
        """End the wait for the client. A read returns EOF, and a request that has arrived whole gets its response."""
        how, self.waits_for = self.waits_for or SHUT_RD, None
        # gevent's own shutdown would raise in the greenlet that waits.
        with suppress(OSError), plain_socket(fileno=os.dup(self.fileno())) as connection:
            connection.shutdown(how)


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    metrics_slot: Any = None
    _connections: dict[Connection, str] = {}  # with its client's IP address, by age; there is one worker per process

    def load_wsgi(self) -> None:
        try:
            super().load_wsgi()
        except Exception:
            if self.age == 1:  # at the start: gunicorn exits
                raise
            # gunicorn would exit here too, although other workers may still serve.
            self.log.exception("New worker can't load the application. Next attempt in %s s", RETRY_DELAY_SECONDS)
            time.sleep(RETRY_DELAY_SECONDS)
            raise SystemExit(1) from None

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        connection = Connection(client.family, client.type, client.proto, client.detach())
        self._connections[connection] = addr[0] if isinstance(addr, tuple) else ""  # of a Unix socket
        if len(self._connections) > MAX_CONNECTIONS_SHARE * self.worker_connections:
            self._end_a_waiting_connection()
        try:
            super().handle(listener, connection, addr)
        finally:
            del self._connections[connection]

    def _end_a_waiting_connection(self) -> None:
        """End the oldest one of the client with the most such connections, so that no client can hold all."""
        waiting = [(each, client) for each, client in self._connections.items() if each.waits_for is not None]
        if waiting:
            ((most, _),) = Counter(client for _, client in waiting).most_common(1)
            next(connection for connection, client in waiting if client == most).end_wait()

    def timeout_ctx(self) -> gevent.Timeout:
        """Return the timeout for a connection's next request."""
        return gevent.Timeout(self.cfg.keepalive if self.alive else FIRST_REQUEST_TIMEOUT_SECONDS, False)  # noqa: FBT003 - positional-only

    def handle_quit(self, sig: int, frame: Any) -> None:
        # gunicorn's own handler raises SystemExit a moment later, maybe at Python's exit, which logs it. Ctrl-C in a
        # terminal would raise a second one: it reaches the workers from there and from the master.
        os._exit(0)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._end_idle_connections)  # not in the signal handler, which can interrupt any greenlet

    def _end_idle_connections(self) -> None:
        for connection in list(self._connections):
            if connection.body_deadline is None and not connection.head_bytes:
                connection.end_wait()
