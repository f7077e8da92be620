"""Raw sockets to a service, for what no HTTP client would send."""

import re
import socket
from contextlib import suppress
from http.client import HTTPResponse
from urllib.parse import urlsplit

from tests.service import TIMEOUT_SECONDS, Answer, Service

FORM = {"line": b"POST / HTTP/1.1", "media_type": b"application/x-www-form-urlencoded"}


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(service.address).port or 0), TIMEOUT_SECONDS)


def answer(connection: socket.socket) -> Answer:
    """Read one response."""
    response = HTTPResponse(connection)
    response.begin()
    return Answer(response.status, dict(response.headers), response.read().decode())


def exchange(service: Service, sent: bytes) -> bytes:
    """Send bytes and return everything that is received until the connection is closed."""
    with connect(service) as connection:
        with suppress(OSError):  # the service may have closed it
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Read until the service closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            received += part
    return received


def recorded(service: Service, number: int = 15) -> int:
    """Return how often a number was recorded."""
    return service.request(f"/api/numbers/{number}").json()["count"]


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def post(
    *headers: bytes, line: bytes = b"POST /api/fizzbuzz HTTP/1.1", media_type: bytes = b"application/json"
) -> bytes:
    """Return the head of a request."""
    return b"\r\n".join([line, b"Host: localhost", b"Content-Type: " + media_type, *headers, b"", b""])
