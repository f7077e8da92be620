"""SIGTERM: idle connections are closed at once, and requests that have begun get their response."""

import signal
import time
from contextlib import ExitStack
from pathlib import Path

from tests.raw import answer, connect, post
from tests.service import Service, children, eventually

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


def test_idle_connections_are_closed_before_requests_end(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    with ExitStack() as open_:
        used, unused, head, body = (open_.enter_context(connect(service)) for _ in range(4))
        used.sendall(LIVE + b"\r\n")
        assert answer(used).status == 200
        head.sendall(LIVE)
        body.sendall(post(b"Content-Length: 14") + b'{"number":')
        time.sleep(0.5)  # until the workers have read it

        service.process.send_signal(signal.SIGTERM)

        assert used.recv(1) == b""
        assert unused.recv(1) == b""
        head.sendall(b"\r\n")
        body.sendall(b" 15}")
        assert answer(head).status == 200
        assert answer(body).status == 201
    assert service.stop() == (0, "")


def test_reload_closes_the_old_workers_idle_connections(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    with connect(service) as idle:
        idle.sendall(LIVE + b"\r\n")
        assert answer(idle).status == 200
        old = set(children(service.process.pid))

        service.process.send_signal(signal.SIGHUP)

        assert idle.recv(1) == b""
        assert eventually(lambda: old.isdisjoint(children(service.process.pid)))
    assert service.stop() == (0, "")
