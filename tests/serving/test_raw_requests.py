"""Requests on raw sockets to a real gunicorn: ambiguous (request smuggling), incomplete, slow, and too many."""

import gzip
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from select import select

import pytest

from fizzbuzz_site.serving.gate import UNREADABLE
from tests.problems import assert_problem
from tests.raw import FORM, answer, connect, exchange, post, read_all, recorded, statuses
from tests.service import SHORT_DEADLINES, TIMEOUT_SECONDS, Service, eventually, serving

BODY = b'{"number": 15}'
# The request that a wrong parser would see after the ambiguous bytes. Only it sends this number.
SMUGGLED = (
    b"POST /api/fizzbuzz HTTP/1.1\r\nHost: localhost\r\n"
    b'Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{"number": 666}'
)
ZIPPED = gzip.compress(BODY, mtime=0)
CHUNKED = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
LENGTH, IN_CHUNKS = b"Content-Length: 14", b"Transfer-Encoding: chunked"
LARGE = b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"

AMBIGUOUS: dict[int, list[bytes]] = {
    400: [
        post(LENGTH, IN_CHUNKS) + CHUNKED,
        post(IN_CHUNKS, b"Content-Length: 4") + b"5c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
        post(LENGTH, b"Content-Length: 0") + BODY,
        post(b"Content-Length: 0", b"Content-Length: 130") + SMUGGLED,
        post(LENGTH, LENGTH) + BODY,
        *(
            post(b"Content-Length: " + value) + BODY
            for value in (b"14, 14", b"+14", b"-14", b"0x0e", b"14 15", b"1_4", b"\xb2")
        ),
        post(b"Content-Length : 14") + BODY,
        post(IN_CHUNKS, IN_CHUNKS) + CHUNKED,
        *(
            post(b"Transfer-Encoding" + rest) + CHUNKED
            for rest in (b": chunked, identity", b": \x0bchunked", b":\r\n chunked", b" : chunked")
        ),
        post(IN_CHUNKS, line=b"POST /api/fizzbuzz HTTP/1.0") + CHUNKED,
        post(LENGTH, b"X-Folded: a", b" b") + BODY,
        post(LENGTH, b"X-Folded: a", b"\tTransfer-Encoding: chunked") + BODY,
        *(
            post(LENGTH, header) + BODY
            for header in (b"X: a\rX-Other: b", b"X: a\x00b", b"X Name: a", b"X(Name): a", b"no colon", b": no name")
        ),
        *(
            post(LENGTH, line=line) + BODY
            for line in (
                b"POST /api/fizzbuzz HTTP/9.9",
                b"POST /api/fizzbuzz HTTP/1.1 HTTP/1.1",
                b"POST  /api/fizzbuzz HTTP/1.1",
                b"PO\x00ST /api/fizzbuzz HTTP/1.1",
                b"p(st /api/fizzbuzz HTTP/1.1",
            )
        ),
        post(LENGTH).replace(b"\r\n", b"\n") + BODY,
        post(b"Transfer-Encoding: gzip, chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ZIPPED), ZIPPED),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    413: [post(b"Content-Length: " + b"9" * 40) + BODY],
    414: [post(LENGTH, line=b"POST /api/fizzbuzz?" + b"x" * 4_096 + b" HTTP/1.1") + BODY, b"\x00" * 9_000],
    431: [
        post(LENGTH, b"Idempotency-Key: " + b"k" * 8_192) + BODY,
        post(LENGTH, *[b"X: x"] * 64) + BODY,
        post(LENGTH, *[b"X: " + b"x" * 8_000] * 5) + BODY,
    ],
    501: [post(b"Transfer-Encoding: xchunked") + CHUNKED],
}
BAD_CHUNKS = [
    (b"e\r\n" + BODY + b"\r\n", 400),  # not followed by a chunk
    *((size + b"\r\n" + BODY + b"\r\n0\r\n\r\n", 400) for size in (b"0x0e", b"-e", b"+e", b"e e", b"", b"g", b"2")),
    (b"e\n" + BODY + b"\n0\n\n", 400),
    (b"e\r\n" + BODY + b"\n0\r\n\r\n", 400),
    (b"e\r\n" + BODY + b"0\r\n\r\n", 400),
    (b"e;\n\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    (b"e;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    (b"e\r\n" + BODY + b"\r\n0\r\nX-Trailer: a\n\r\n", 400),
    (b"e\r\n" + BODY + b"\r\n0\r\nno colon\r\n\r\n", 400),
    (b"f" * 40 + b"\r\n" + BODY + b"\r\n0\r\n\r\n", 408),  # a chunk that long never comes whole
    (b"100001\r\n" + b"0" * 0x100001 + b"\r\n0\r\n\r\n", 413),
    (b"80000\r\n" + b"0" * 0x80000 + b"\r\n80000\r\n" + b"0" * 0x80000 + b"\r\n1\r\n0\r\n0\r\n\r\n", 413),
]
# Request lines, and the status of a body that is too large.
LINES = [(b"POST /api/fizzbuzz HTTP/1.1", 413), (b"GET /nowhere HTTP/1.1", 404), (b"POST / HTTP/1.1", 415)]
INCOMPLETE = [
    (post(IN_CHUNKS), 408),
    (post(IN_CHUNKS) + b"e", 408),
    (post(IN_CHUNKS) + b"f\r\n" + BODY, 408),
    (post(IN_CHUNKS) + b"e\r\n" + BODY, 400),
    (post(IN_CHUNKS) + b"e\r\n" + BODY + b"\r\n", 408),
    (post(IN_CHUNKS) + b"e\r\n" + BODY + b"\r\n0\r\n", 400),
    (post(b"Content-Length: 16") + BODY, 408),
    (post(b"Content-Length: 11", **FORM) + b"number=15", 408),  # of number=1500
]


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    """A service with one worker and short deadlines, for all tests of this module."""
    with serving(DATA_DIR=str(shared_data_dir), WEB_CONCURRENCY="1", **SHORT_DEADLINES) as service:
        yield service


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        *((sent + SMUGGLED, status) for status, rejected in AMBIGUOUS.items() for sent in rejected),
        *(
            (post(IN_CHUNKS, line=line) + sent + SMUGGLED, too_large if status == 413 else status)
            for line, too_large in LINES
            for sent, status in BAD_CHUNKS
        ),
        *INCOMPLETE,
    ],
    ids=lambda value: ascii(value).replace(ascii(post())[2:-5], "")[:60],
)
def test_ambiguous_and_incomplete_bytes_get_one_response_and_record_nothing(
    service: Service, sent: bytes, status: int
) -> None:
    before = recorded(service)

    assert statuses(exchange(service, sent)) == [status]
    assert (recorded(service, 666), recorded(service)) == (0, before)


@pytest.mark.parametrize(
    "sent",
    [
        post(b"Content_Length: 900", LENGTH) + BODY,  # WSGI gives it the same name as Content-Length
        post(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk", LENGTH) + BODY,
        post(IN_CHUNKS) + CHUNKED,
        post(IN_CHUNKS) + b"0000e\r\n" + BODY + b"\r\n00\r\n\r\n",
        post(IN_CHUNKS) + b"E;name=value\r\n" + BODY + b'\r\n0;q="a;b"\r\n\r\n',
        post(IN_CHUNKS) + b"e\r\n" + BODY + b"\r\n0\r\nX-Trailer: a\r\n\r\n",
        post(IN_CHUNKS) + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    ],
)
def test_valid_request_is_followed_by_the_next(service: Service, sent: bytes) -> None:
    before = recorded(service)

    assert statuses(exchange(service, sent + post(LENGTH) + BODY)) == [201, 201]
    assert recorded(service) == before + 2


def test_connection_is_kept_after_bodies_in_packets_and_rejected_ones(service: Service) -> None:
    before = recorded(service)
    rejected = [(b"GET /health/live", 200), (b"POST /stats", 403), (b"POST /", 415)]
    with connect(service) as connection:
        for packets, status in (
            ([post(IN_CHUNKS, **FORM), b"9\r\nnumber=15\r\n0\r\n\r\n"], 303),
            ([post(IN_CHUNKS, **FORM), b"7\r\nnumber=", b"\r\n2\r\n15", b"\r\n0\r\n\r\n"], 303),
            ([post(LENGTH) + b'{"number":', b" 15}"], 201),
            *(
                ([post(b"Content-Length: 100000", line=line + b" HTTP/1.1") + b"0" * 100_000], status)
                for line, status in rejected * 2
            ),
        ):
            for packet in packets:
                connection.sendall(packet)
                time.sleep(0.1)

            assert answer(connection).status == status
    assert recorded(service) == before + 3


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
        api.sendall(post(b"Content-Length: 999") + BODY[:-1])
        form.sendall(post(b"Content-Length: 999", **FORM) + b"number=15")
        head.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        chunks.sendall(post(IN_CHUNKS) + b"fff\r\n" + BODY[:-1])
        slow_reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow_reader.connect(api.getpeername())
        slow_reader.sendall(LARGE * 10)

        drip(api, form, head, chunks)

        rejected, page, chunked = answer(api), answer(form), answer(chunks)
        with suppress(ConnectionResetError):
            assert head.recv(65536) == b""
        assert eventually(lambda: "Socket error processing request." in new_log_lines(service))
        assert read_all(slow_reader).count(b"HTTP/1.1 200 OK") < 10
    assert [(each.status, each.headers["Connection"]) for each in (rejected, page, chunked)] == [(408, "close")] * 3
    assert_problem(rejected, "request-timeout", UNREADABLE, "/api/fizzbuzz")
    assert_problem(chunked, "request-timeout", UNREADABLE, "/api/fizzbuzz")
    assert f"<p>{UNREADABLE}</p>" in page.body
    assert recorded(service) == before


def test_no_client_can_hold_all_connections(data_dir: Path) -> None:
    options = {"GUNICORN_CMD_ARGS": "--keep-alive=300 --worker-connections=50", "WEB_CONCURRENCY": "1"}
    with serving(DATA_DIR=str(data_dir), **options) as service, ExitStack() as open_:
        first = open_.enter_context(connect(service))
        other = open_.enter_context(
            socket.create_connection(first.getpeername(), TIMEOUT_SECONDS, source_address=("127.0.0.2", 0))
        )
        for number in range(150):
            connection = open_.enter_context(connect(service))
            connection.sendall((b"", LARGE[:20], post(LENGTH))[number % 3])

        assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
        other.sendall(LARGE.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n"))
        assert read_all(other).startswith(b"HTTP/1.1 200 OK")
