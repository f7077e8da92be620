"""Clients that send slowly, too much, or only a part; on raw sockets, against the real gunicorn."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path
from select import select

import pytest

from tests.service import SECONDS, SHORT_DEADLINES, Answer, Service, eventually, serving

POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s\r\n\r\n%s"
LARGE = b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
UNREADABLE = "What was sent did not arrive whole and in time. Nothing was recorded; send it again."


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir), WEB_CONCURRENCY="1", **SHORT_DEADLINES) as service:
        yield service


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(service.address.rpartition(":")[2])), SECONDS)


def answer(connection: socket.socket) -> Answer:
    response = HTTPResponse(connection)
    response.begin()
    return Answer(response.status, dict(response.headers), response.read().decode())


def drip(*connections: socket.socket) -> None:
    """Sends a byte each half second, until something comes back or it is closed, on each of them."""
    left = set(connections)
    for _ in range(2 * SECONDS):
        for connection in left:
            with suppress(OSError):
                connection.sendall(b"0")
        left -= set(select(left, [], [], 0.5)[0])
        if not left:
            return
    raise AssertionError("It would take it for ever.")


def news(service: Service) -> str:
    """What the service wrote since, and at least a line of a request."""
    assert service.process.stderr
    service.request("/api/numbers/15")
    return os.read(service.process.stderr.fileno(), 1024 * 1024).decode()


def recorded(service: Service) -> int:
    return sum(each["count"] for each in service.request("/api/most_common?limit=100").json())


def test_slow_requests_are_ended(service: Service) -> None:
    before = recorded(service)
    with ExitStack() as open_, socket.socket() as deaf:
        api, form, head, chunks = (open_.enter_context(connect(service)) for _ in range(4))
        api.sendall(POST % (b"/api/fizzbuzz", JSON, b"Content-Length: 999", b'{"number": 15'))
        form.sendall(POST % (b"/", FORM, b"Content-Length: 999", b"number=15"))
        head.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        chunks.sendall(POST % (b"/api/fizzbuzz", JSON, b"Transfer-Encoding: chunked", b'fff\r\n{"number": 15'))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(api.getpeername())
        deaf.sendall(LARGE * 10)

        drip(api, form, head, chunks)

        refused, page, chunked = answer(api), answer(form), answer(chunks)
        with suppress(ConnectionResetError):
            assert head.recv(65536) == b""
        assert eventually(lambda: "Socket error processing request." in news(service))
        assert b"".join(iter(lambda: deaf.recv(65536), b"")).count(b"HTTP/1.1 200 OK") < 10
    assert (refused.status, refused.headers["Connection"]) == (408, "close")
    assert (chunked.status, chunked.json()["detail"]) == (408, UNREADABLE)
    assert refused.json() == {
        "type": "/docs/problems#request-timeout",
        "title": "Request Timeout",
        "status": 408,
        "detail": UNREADABLE,
        "instance": "/api/fizzbuzz",
        "request_id": refused.headers["X-Request-ID"],
    }
    assert (page.status, page.headers["Connection"]) == (408, "close")
    assert f"<p>{UNREADABLE}</p>" in page.body
    assert recorded(service) == before


@pytest.mark.parametrize("path", [b"/api/fizzbuzz", b"/"])
def test_part_of_a_body_counts_for_nothing(service: Service, path: bytes) -> None:
    before = recorded(service)
    with connect(service) as connection:
        connection.sendall(POST % (path, FORM, b"Content-Length: 10", b"number=15"))
        connection.shutdown(socket.SHUT_WR)

        refused = answer(connection)

    assert (refused.status, refused.headers["Connection"]) == (408, "close")
    assert UNREADABLE in refused.body
    assert recorded(service) == before


def test_form_may_come_in_chunks(service: Service) -> None:
    before = recorded(service)
    with connect(service) as connection:
        for parts in ([b"9\r\nnumber=15\r\n0\r\n\r\n"], [b"7\r\nnumber=", b"\r\n2\r\n15", b"\r\n0\r\n\r\n"]):
            connection.sendall(POST % (b"/api/fizzbuzz", FORM, b"Transfer-Encoding: chunked", b""))
            for part in parts:
                connection.sendall(part)
                time.sleep(0.1)

            assert answer(connection).status == 201
    assert recorded(service) == before + 2


def test_connection_goes_on_after_a_body_that_came_in_parts(service: Service) -> None:
    with connect(service) as connection:
        for _ in range(3):
            connection.sendall(POST % (b"/api/fizzbuzz", FORM, b"Content-Length: 9", b"number="))
            time.sleep(0.1)
            connection.sendall(b"15")

            assert answer(connection).status == 201


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /%s HTTP/1.1\r\nHost: localhost" % (b"x" * 4096), 414),
        (b"GET /?%s HTTP/1.1\r\nHost: localhost" % (b"a&" * 2048), 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: %s" % (b"x" * 8192), 431),
        (b"GET / HTTP/1.1\r\nHost: localhost" + b"\r\nX: x" * 64, 431),
    ],
    ids=["address", "parameters", "one header", "headers"],
)
def test_large_heads_are_refused(service: Service, head: bytes, status: int) -> None:
    with connect(service) as connection:
        connection.sendall(head + b"\r\n\r\n")

        assert answer(connection).status == status


def test_idle_connections_hold_up_nobody(service: Service) -> None:
    with ExitStack() as idle:
        for number in range(200):
            connection = idle.enter_context(connect(service))
            if number % 2:
                connection.sendall(POST % (b"/api/fizzbuzz", FORM, b"Content-Length: 9", b""))

        assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
        assert service.request("/health").status == 200
