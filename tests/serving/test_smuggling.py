"""HTTP request smuggling: a real gunicorn sends one response to ambiguous bytes, and handles no second request."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw import exchange, post, statuses
from tests.service import Service, serving

BODY = b'{"number": 15}'
# The request that a wrong parser would see after the ambiguous bytes. Only it sends this number.
SMUGGLED = (
    b"POST /api/fizzbuzz HTTP/1.1\r\nHost: localhost\r\n"
    b'Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{"number": 666}'
)
ZIPPED = gzip.compress(BODY, mtime=0)
CHUNKED = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir), WEB_CONCURRENCY="1") as service:
        yield service


def recorded(service: Service, number: int) -> int:
    return service.request(f"/api/numbers/{number}").json()["count"]


def test_two_valid_requests_get_two_responses(service: Service) -> None:
    received = exchange(service, post(b"Content-Length: 14") + BODY + post(b"Content-Length: 14") + BODY)

    assert statuses(received) == [201, 201]


REJECTED: dict[int, list[bytes]] = {
    400: [
        post(b"Content-Length: 14", b"Transfer-Encoding: chunked") + CHUNKED,
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"5c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
        post(b"Content-Length: 14", b"Content-Length: 0") + BODY,
        post(b"Content-Length: 0", b"Content-Length: 130") + SMUGGLED,
        post(b"Content-Length: 14", b"Content-Length: 14") + BODY,
        post(b"Content-Length: 14, 14") + BODY,
        post(b"Content-Length: +14") + BODY,
        post(b"Content-Length: -14") + BODY,
        post(b"Content-Length: 0x0e") + BODY,
        post(b"Content-Length: 14 15") + BODY,
        post(b"Content-Length: 1_4") + BODY,
        post(b"Content-Length: \xb2") + BODY,
        post(b"Content-Length : 14") + BODY,
        post(b"Transfer-Encoding: chunked, identity") + CHUNKED,
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + CHUNKED,
        post(b"Transfer-Encoding: \x0bchunked") + CHUNKED,
        post(b"Transfer-Encoding:\r\n chunked") + CHUNKED,
        post(b"Transfer-Encoding : chunked") + CHUNKED,
        post(b"Transfer-Encoding: chunked", line=b"POST /api/fizzbuzz HTTP/1.0") + CHUNKED,
        post(b"Content-Length: 14", b"X-Folded: a", b" b") + BODY,
        post(b"Content-Length: 14", b"X-Folded: a", b"\tTransfer-Encoding: chunked") + BODY,
        post(b"Content-Length: 14", b"X-Injected: a\rX-Other: b") + BODY,
        post(b"Content-Length: 14", b"X-Injected: a\x00b") + BODY,
        post(b"Content-Length: 14", b"X Name: a") + BODY,
        post(b"Content-Length: 14", b"X(Name): a") + BODY,
        post(b"Content-Length: 14", b"no colon") + BODY,
        post(b"Content-Length: 14", b": no name") + BODY,
        post(b"Content-Length: 14", line=b"POST /api/fizzbuzz HTTP/9.9") + BODY,
        post(b"Content-Length: 14", line=b"POST /api/fizzbuzz HTTP/1.1 HTTP/1.1") + BODY,
        post(b"Content-Length: 14", line=b"POST  /api/fizzbuzz HTTP/1.1") + BODY,
        post(b"Content-Length: 14", line=b"PO\x00ST /api/fizzbuzz HTTP/1.1") + BODY,
        post(b"Content-Length: 14", line=b"p(st /api/fizzbuzz HTTP/1.1") + BODY,
        post(b"Content-Length: 14").replace(b"\r\n", b"\n") + BODY,
        post(b"Transfer-Encoding: gzip, chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ZIPPED), ZIPPED),
        post(b"Transfer-Encoding: chunked") + b"0x0e\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b"Transfer-Encoding: chunked") + b"-e\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b"Transfer-Encoding: chunked") + b"+e\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b"Transfer-Encoding: chunked") + b"e e\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b"Transfer-Encoding: chunked") + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b"Transfer-Encoding: chunked") + b"g\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b"Transfer-Encoding: chunked") + b"2\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    408: [  # a chunk that long never comes whole
        post(b"Transfer-Encoding: chunked") + b"f" * 40 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    ],
    413: [
        post(b"Content-Length: " + b"9" * 40) + BODY,
    ],
    414: [
        post(b"Content-Length: 14", line=b"POST /api/fizzbuzz?" + b"x" * 9_000 + b" HTTP/1.1") + BODY,
        b"\x00" * 9_000,
    ],
    431: [
        post(b"Content-Length: 14", b"Idempotency-Key: " + b"k" * 9_000) + BODY,
        post(b"Content-Length: 14", *(b"X-%d: a" % index for index in range(200))) + BODY,
    ],
    501: [
        post(b"Transfer-Encoding: xchunked") + CHUNKED,
    ],
}


@pytest.mark.parametrize(
    ("status", "sent"),
    [(status, sent) for status, rejected in REJECTED.items() for sent in rejected],
    ids=lambda value: (
        ascii(value.replace(post()[:-4], b"").replace(BODY, b""))[:60] if isinstance(value, bytes) else None
    ),
)
def test_ambiguous_bytes_are_rejected_once(service: Service, status: int, sent: bytes) -> None:
    before = recorded(service, 15)

    received = exchange(service, sent + SMUGGLED)

    assert statuses(received) == [status]
    assert recorded(service, 666) == 0
    assert recorded(service, 15) == before


def test_header_with_underscore_is_ignored(service: Service) -> None:
    """WSGI gives `Content_Length` and `Content-Length` the same name."""
    received = exchange(service, post(b"Content_Length: 900", b"Content-Length: 14", b"Connection: close") + BODY)

    assert statuses(received) == [201]


def test_upgrade_is_ignored(service: Service) -> None:
    upgrade = [b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__"]

    received = exchange(service, post(*upgrade, b"Content-Length: 14") + BODY)

    assert statuses(received) == [201]


@pytest.mark.parametrize(
    "sent",
    [
        CHUNKED,
        b"0000e\r\n" + BODY + b"\r\n00\r\n\r\n",
        b"E;name=value\r\n" + BODY + b'\r\n0;q="a;b"\r\n\r\n',
        b"e\r\n" + BODY + b"\r\n0\r\nX-Trailer: a\r\n\r\n",
        b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    ],
)
def test_chunked_body_is_followed_by_the_next_request(service: Service, sent: bytes) -> None:
    before = recorded(service, 15)

    received = exchange(service, post(b"Transfer-Encoding: chunked") + sent + post(b"Content-Length: 14") + BODY)

    assert statuses(received) == [201, 201]
    assert recorded(service, 15) == before + 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"e\r\n" + BODY + b"\r\n", 400),  # not followed by a chunk
        (b"g\r\n", 400),
        (b"e\n" + BODY + b"\n0\n\n", 400),
        (b"e\r\n" + BODY + b"\n0\r\n\r\n", 400),
        (b"e\r\n" + BODY + b"0\r\n\r\n", 400),
        (b"e;\n\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
        (b"e;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
        (b"e\r\n" + BODY + b"\r\n0\r\nX-Trailer: a\n\r\n", 400),
        (b"e\r\n" + BODY + b"\r\n0\r\nno colon\r\n\r\n", 400),
        (b"10000000000000000\r\n" + BODY + b"\r\n0\r\n\r\n", 408),
        (b"100001\r\n" + b"0" * 0x100001 + b"\r\n0\r\n\r\n", 413),
        (b"80000\r\n" + b"0" * 0x80000 + b"\r\n80000\r\n" + b"0" * 0x80000 + b"\r\n1\r\n0\r\n0\r\n\r\n", 413),
    ],
    ids=lambda sent: ascii(sent)[:40],
)
@pytest.mark.parametrize(
    ("line", "too_large"),
    [(b"POST /api/fizzbuzz HTTP/1.1", 413), (b"GET /nowhere HTTP/1.1", 404), (b"POST / HTTP/1.1", 415)],
)
def test_bad_chunks_get_one_response(service: Service, line: bytes, too_large: int, sent: bytes, status: int) -> None:
    received = exchange(service, post(b"Transfer-Encoding: chunked", line=line) + sent + SMUGGLED)

    assert statuses(received) == [too_large if status == 413 else status]
    assert recorded(service, 666) == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 408),
        (b"e", 408),
        (b"f\r\n" + BODY, 408),
        (b"e\r\n" + BODY, 400),
        (b"e\r\n" + BODY + b"\r\n", 408),
        (b"e\r\n" + BODY + b"\r\n0\r\n", 400),
    ],
)
def test_incomplete_chunks_are_not_recorded(service: Service, sent: bytes, status: int) -> None:
    before = recorded(service, 15)

    received = exchange(service, post(b"Transfer-Encoding: chunked") + sent)

    assert statuses(received) == [status]
    assert recorded(service, 15) == before


@pytest.mark.parametrize(
    ("path", "content_type", "sent"),
    [
        (b"/api/fizzbuzz", b"application/json", b'{"number": 15}'),
        (b"/", b"application/x-www-form-urlencoded", b"number=15"),  # of number=1500
    ],
)
def test_incomplete_body_is_not_recorded(service: Service, path: bytes, content_type: bytes, sent: bytes) -> None:
    before = recorded(service, 15)
    head = post(b"Content-Length: %d" % (len(sent) + 2), line=b"POST " + path + b" HTTP/1.1", media_type=content_type)

    received = exchange(service, head + sent)

    assert statuses(received) == [408]
    assert recorded(service, 15) == before
