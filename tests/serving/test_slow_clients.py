"""Clients that send slowly, too much, or incompletely, on raw sockets against a real gunicorn."""

import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from select import select
from urllib.parse import urlsplit

import pytest

from fizzbuzz_site.serving.gate import UNREADABLE
from tests.problems import assert_problem
from tests.raw import FORM, answer, connect, post, read_all, recorded
from tests.service import TIMEOUT_SECONDS, Service, eventually, serving

LARGE = b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


def drip(*connections: socket.socket) -> None:
    """Send a byte every half second on each connection, until it gets a response or is closed."""
    left = set(connections)
    for _ in range(2 * TIMEOUT_SECONDS):
        for connection in left:
            with suppress(OSError):
                connection.sendall(b"0")
        left -= set(select(left, [], [], 0.5)[0])
        if not left:
            return
    raise AssertionError("The service did not end the slow requests.")


def new_log_lines(service: Service) -> str:
    """Return what the service logged since the last call; at least the line of a request."""
    assert service.process.stderr
    service.request("/api/numbers/15")
    return os.read(service.process.stderr.fileno(), 1024 * 1024).decode()


def test_slow_requests_time_out(service: Service) -> None:
    before = recorded(service)
    with ExitStack() as open_, socket.socket() as slow_reader:
        api, form, head, chunks = (open_.enter_context(connect(service)) for _ in range(4))
        api.sendall(post(b"Content-Length: 999") + b'{"number": 15')
        form.sendall(post(b"Content-Length: 999", **FORM) + b"number=15")
        head.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        chunks.sendall(post(b"Transfer-Encoding: chunked") + b'fff\r\n{"number": 15')
        slow_reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow_reader.connect(api.getpeername())
        slow_reader.sendall(LARGE * 10)

        drip(api, form, head, chunks)

        rejected, page, chunked = answer(api), answer(form), answer(chunks)
        with suppress(ConnectionResetError):
            assert head.recv(65536) == b""
        assert eventually(lambda: "Socket error processing request." in new_log_lines(service))
        assert b"".join(iter(lambda: slow_reader.recv(65536), b"")).count(b"HTTP/1.1 200 OK") < 10
    assert [(each.status, each.headers["Connection"]) for each in (rejected, page, chunked)] == [(408, "close")] * 3
    assert_problem(rejected, "request-timeout", UNREADABLE, "/api/fizzbuzz")
    assert_problem(chunked, "request-timeout", UNREADABLE, "/api/fizzbuzz")
    assert f"<p>{UNREADABLE}</p>" in page.body
    assert recorded(service) == before


def test_connection_is_kept_after_bodies_in_one_and_in_several_packets(service: Service) -> None:
    chunked, number = post(b"Transfer-Encoding: chunked", **FORM), post(b"Content-Length: 14")
    before = recorded(service)
    with connect(service) as connection:
        for packets, status in (
            ([chunked, b"9\r\nnumber=15\r\n0\r\n\r\n"], 303),
            ([chunked, b"7\r\nnumber=", b"\r\n2\r\n15", b"\r\n0\r\n\r\n"], 303),
            ([number + b'{"number":', b" 15}"], 201),
            ([number + b'{"number": 15}'], 201),
        ):
            for packet in packets:
                connection.sendall(packet)
                time.sleep(0.1)

            assert answer(connection).status == status
    assert recorded(service) == before + 4


def test_no_client_can_hold_all_connections(data_dir: Path) -> None:
    options = {"GUNICORN_CMD_ARGS": "--keep-alive=300 --worker-connections=50", "WEB_CONCURRENCY": "1"}
    with serving(DATA_DIR=str(data_dir), **options) as service, ExitStack() as open_:
        port = urlsplit(service.address).port
        other = open_.enter_context(socket.create_connection(("127.0.0.1", port), 60, source_address=("127.0.0.2", 0)))
        for number in range(150):
            connection = open_.enter_context(connect(service))
            sent = (b"", LARGE[:20], post(b"Content-Length: 14"))[number % 3]
            connection.sendall(sent)

        assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
        other.sendall(LARGE.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n"))
        assert read_all(other).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(("path", "status"), [(b"GET /health/live", 200), (b"POST /stats", 403), (b"POST /", 415)])
def test_rejected_body_is_discarded(service: Service, path: bytes, status: int) -> None:
    body = b"0" * 100_000
    with connect(service) as connection:
        for _ in range(2):
            connection.sendall(post(b"Content-Length: 100000", line=path + b" HTTP/1.1") + body)

            assert answer(connection).status == status
