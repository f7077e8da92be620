"""SIGTERM: idle connections are closed at once, and requests that have begun get their response."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

from tests.service import TIMEOUT_SECONDS, Service, children, eventually

HEAD = b"POST /api/fizzbuzz HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(service.address.rpartition(":")[2])), TIMEOUT_SECONDS)


def answer(connection: socket.socket) -> int:
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def test_idle_connections_are_closed_before_requests_end(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    with ExitStack() as open_:
        used, unused, head, body = (open_.enter_context(connect(service)) for _ in range(4))
        used.sendall(LIVE + b"\r\n")
        assert answer(used) == 200
        head.sendall(LIVE)
        body.sendall(HEAD + b"\r\n" + b'{"number":')
        time.sleep(0.5)  # until the workers have read it

        service.process.send_signal(signal.SIGTERM)

        assert used.recv(1) == b""
        assert unused.recv(1) == b""
        head.sendall(b"\r\n")
        body.sendall(b" 15}")
        assert answer(head) == 200
        assert answer(body) == 201
    assert service.stop() == (0, "")


def test_reload_closes_the_old_workers_idle_connections(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    with connect(service) as idle:
        idle.sendall(LIVE + b"\r\n")
        assert answer(idle) == 200
        old = set(children(service.process.pid))

        service.process.send_signal(signal.SIGHUP)

        assert idle.recv(1) == b""
        assert eventually(lambda: old.isdisjoint(children(service.process.pid)))
    assert service.stop() == (0, "")
