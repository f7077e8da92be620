"""HTTP request smuggling: a real gunicorn sends one response to ambiguous bytes, and handles no second request."""

import gzip

import pytest

from tests.raw import FORM, exchange, post, recorded, statuses
from tests.service import Service

BODY = b'{"number": 15}'
# The request that a wrong parser would see after the ambiguous bytes. Only it sends this number.
SMUGGLED = (
    b"POST /api/fizzbuzz HTTP/1.1\r\nHost: localhost\r\n"
    b'Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{"number": 666}'
)
ZIPPED = gzip.compress(BODY, mtime=0)
CHUNKED = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
LENGTH, IN_CHUNKS = b"Content-Length: 14", b"Transfer-Encoding: chunked"


def test_two_valid_requests_get_two_responses(service: Service) -> None:
    received = exchange(service, post(LENGTH) + BODY + post(LENGTH) + BODY)

    assert statuses(received) == [201, 201]


REJECTED: dict[int, list[bytes]] = {
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
    413: [
        post(b"Content-Length: " + b"9" * 40) + BODY,
    ],
    414: [
        post(LENGTH, line=b"POST /api/fizzbuzz?" + b"x" * 4_096 + b" HTTP/1.1") + BODY,
        b"\x00" * 9_000,
    ],
    431: [
        post(LENGTH, b"Idempotency-Key: " + b"k" * 8_192) + BODY,
        post(LENGTH, *[b"X: x"] * 64) + BODY,
        post(LENGTH, *[b"X: " + b"x" * 8_000] * 5) + BODY,
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
    before = recorded(service)

    received = exchange(service, sent + SMUGGLED)

    assert statuses(received) == [status]
    assert recorded(service, 666) == 0
    assert recorded(service) == before


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content_Length: 900", b"Connection: close"],  # WSGI gives it the same name as Content-Length
        [b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
    ],
)
def test_header_is_ignored(service: Service, headers: list[bytes]) -> None:
    received = exchange(service, post(*headers, LENGTH) + BODY)

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
    before = recorded(service)

    received = exchange(service, post(IN_CHUNKS) + sent + post(LENGTH) + BODY)

    assert statuses(received) == [201, 201]
    assert recorded(service) == before + 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
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
    ],
    ids=lambda sent: ascii(sent)[:40],
)
@pytest.mark.parametrize(
    ("line", "too_large"),
    [(b"POST /api/fizzbuzz HTTP/1.1", 413), (b"GET /nowhere HTTP/1.1", 404), (b"POST / HTTP/1.1", 415)],
)
def test_bad_chunks_get_one_response(service: Service, line: bytes, too_large: int, sent: bytes, status: int) -> None:
    received = exchange(service, post(IN_CHUNKS, line=line) + sent + SMUGGLED)

    assert statuses(received) == [too_large if status == 413 else status]
    assert recorded(service, 666) == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(IN_CHUNKS), 408),
        (post(IN_CHUNKS) + b"e", 408),
        (post(IN_CHUNKS) + b"f\r\n" + BODY, 408),
        (post(IN_CHUNKS) + b"e\r\n" + BODY, 400),
        (post(IN_CHUNKS) + b"e\r\n" + BODY + b"\r\n", 408),
        (post(IN_CHUNKS) + b"e\r\n" + BODY + b"\r\n0\r\n", 400),
        (post(b"Content-Length: 16") + BODY, 408),
        (post(b"Content-Length: 11", **FORM) + b"number=15", 408),  # of number=1500
    ],
)
def test_incomplete_body_is_not_recorded(service: Service, sent: bytes, status: int) -> None:
    before = recorded(service)

    received = exchange(service, sent)

    assert statuses(received) == [status]
    assert recorded(service) == before
