"""A search for the costliest request. It counts work instead of time, so it is the same on every machine."""

import sys
import tracemalloc
from io import BytesIO
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fizzbuzz.models import Submission
from fizzbuzz_site.serving.slow_clients import MAX_BODY_BYTES
from fizzbuzz_site.serving.worker import MAX_HEAD_BYTES
from tests.gated import GatedClient

pytestmark = pytest.mark.django_db(transaction=True)

# What a request may cost: calls of functions, Python's and C's, and bytes allocated at the same time.
CALLS, CALLS_PER_HEAD_KIB, CALLS_PER_BODY_KIB, CALLS_PER_NUMBER = 60_000, 3_000, 300, 40
BYTES, BYTES_PER_BYTE, BYTES_PER_NUMBER = 2_000_000, 30, 1_500

JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
# Without /metrics, which has a token, and costs as much as there are series.
PATHS = [
    "/", "/live", "/stats", "/numbers/15", "/docs", "/info", "/health/live", "/nowhere", "/admin/login/",
    "/api/", "/api/fizzbuzz", "/api/fizzbuzz/1", "/api/fizzbuzz/batch", "/api/most_common", "/api/numbers/15",
    "/api/schema",
]  # fmt: skip
CHARSETS = ["", *(f"; charset={name}" for name in ("utf-8", "punycode", "idna", "zlib", "hex", "rot13", "utf-16"))]
UNITS = [b"1", b'"1"', b'"x"', b"[]", b"{}", b'{"a":1}', b"1.5", b"null", b'"%s"' % (b"9" * 99), b"\xff", b"[" * 9]
PART = b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n\r\n'
FRAMES = {
    "numbers": (b'{"numbers":[', b",", b"]}"),
    "number": (b'{"number":[', b",", b"]}"),
    "array": (b"[", b",", b"]"),
    "members": (b'{"a":1,', b',"a":', b"}"),
    "text": (b"", b"", b""),
    "form": (b"number=15&a=", b"&a=", b""),
}
HEADERS = {
    "Accept": ["a/b,", "text/html;q=0.1,", "*/*,"], "Cookie": ["a=b;", 'a="\\"', "csrftoken=x;"],
    "If-None-Match": ['"a",', 'W/"a",', ","], "Idempotency-Key": ["k"], "X-Forwarded-For": ["1.1.1.1,", ":"],
    "Accept-Encoding": ["gzip;q=0,"], "Origin": ["https://a"], "Content-Encoding": ["gzip"], "HX-Request": ["true"],
    "Host": ["a.", "testserver"],
}  # fmt: skip


class Request(NamedTuple):
    method: str
    path: str
    content_type: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@st.composite
def requests(draw: st.DrawFn) -> Request:
    path = draw(st.sampled_from(PATHS))
    if parameter := draw(st.sampled_from(["", "a&", "number=15&", "limit=1&", "since=1&", "window=day&", "%C3%A9&"])):
        path += "?" + parameter * draw(st.integers(1, 4_000 // len(parameter)))
    method = draw(st.sampled_from(["GET", "POST", "POST", "POST", "PUT", "OPTIONS", "HEAD", "DELETE", "ODD"]))
    headers = {}
    for name in draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3)):
        value = draw(st.sampled_from(HEADERS[name]))
        headers[name] = value * draw(st.sampled_from([1, 50, MAX_HEAD_BYTES // len(value) // 4]))
    content_type = draw(st.sampled_from([JSON, FORM, MULTIPART, "text/plain"])) + draw(st.sampled_from(CHARSETS))
    first, between, last = draw(st.sampled_from(sorted(FRAMES.values())))
    unit = PART if content_type == MULTIPART else draw(st.sampled_from(UNITS))
    times = draw(st.sampled_from([0, 100, 10_000, 100_000])) // len(unit + between)
    body = first + between.join([unit] * times) + last if times else b""
    return Request(method, path, content_type, body, tuple(headers.items()))


@pytest.fixture(autouse=True)
def _warmed_up() -> None:
    """Let templates be compiled, and what is kept be read."""
    for path in PATHS:
        for accept in ("text/html", "*/*"):
            GatedClient().get(path, headers={"accept": accept})


def check(request: Request) -> None:
    client, body, calls = GatedClient(raise_request_exception=False), BytesIO(request.body), 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    environ: Any = {"CONTENT_TYPE": request.content_type}
    if request.body:
        environ |= {"CONTENT_LENGTH": str(len(request.body)), "wsgi.input": body}
    before = Submission.objects.count()
    tracemalloc.start()
    sys.setprofile(count)
    try:
        response = client.generic(request.method, request.path, headers=dict(request.headers), **environ)
    finally:
        sys.setprofile(None)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    recorded = Submission.objects.count() - before
    head = len(request.path) + sum(len(name + value) for name, value in request.headers)
    by_size = CALLS_PER_HEAD_KIB * head / 1024 + CALLS_PER_BODY_KIB * len(request.body) / 1024
    assert response.status_code not in {500, 501, 502}
    assert body.tell() <= MAX_BODY_BYTES
    assert calls <= CALLS + by_size + CALLS_PER_NUMBER * recorded
    assert peak_bytes <= BYTES + BYTES_PER_BYTE * (head + len(request.body)) + BYTES_PER_NUMBER * recorded


def batch(unit: bytes, size: int) -> bytes:
    return b'{"numbers":[1' + (b"," + unit) * (size // (len(unit) + 1)) + b"]}"


ATTACKS = {
    "lists": Request("POST", "/api/fizzbuzz/batch", JSON, batch(b"[]", 200_000)),
    "objects": Request("POST", "/api/fizzbuzz/batch", JSON, batch(b"{}", 200_000)),
    "words": Request("POST", "/api/fizzbuzz/batch", JSON, batch(b'"x"', 40_000 - 4)),
    "numbers": Request("POST", "/api/fizzbuzz/batch", JSON, batch(b"1", 2_000)),
    "punycode": Request("POST", "/api/fizzbuzz", FORM + "; charset=punycode", b"number=1-" + b"a" * 60_000),
    "punycode in parts": Request("POST", "/", MULTIPART + "; charset=punycode", PART + b"1-" + b"a" * 60_000),
    "punycode in a page": Request("POST", "/", FORM + "; charset=punycode", b"number=1-" + b"a" * 60_000),
    "zlib": Request("GET", "/api/fizzbuzz?number=15", "text/plain; charset=zlib"),
    "rot13": Request("POST", "/", FORM + "; charset=rot13", b"number=15"),
    "file": Request("POST", "/", MULTIPART, PART + b"a" * 2 * MAX_BODY_BYTES + b"\r\n--x--"),
    "parts": Request("POST", "/", MULTIPART, PART * 4_000 + b"--x--"),
    "parameters": Request("GET", "/api/fizzbuzz?" + "&".join(map(str, range(900)))),
    "media types": Request("GET", "/api/fizzbuzz", headers=(("Accept", "a/b;q=0.1," * 3_000),)),
    "entity tags": Request("GET", "/api/most_common", headers=(("If-None-Match", '"a",' * 8_000),)),
    "cookies": Request("GET", "/admin/login/", headers=(("Cookie", "a=b;" * 8_000),)),
}


def test_attacks_cost_little() -> None:
    for attack in ATTACKS.values():
        check(attack)


@pytest.mark.parametrize("examples", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_no_request_costs_more_than_its_size_allows(examples: int) -> None:
    same = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    settings(same, max_examples=examples)(given(requests())(check))()
