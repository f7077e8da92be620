"""What a URL accepts: its methods, and bodies that the gate lets through. Django never decodes others."""

import weakref
from typing import Any

import pytest
from django.test import Client

from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.models import Submission
from fizzbuzz_site.serving import gate
from fizzbuzz_site.serving.gate import FORM, JSON, MAX_FORM_BYTES
from fizzbuzz_site.serving.slow_clients import MAX_BODY_BYTES
from tests.marks import commits
from tests.problems import assert_explained

pytestmark = commits

NUMBER = b'{"number": 15}'
MULTIPART = "multipart/form-data; boundary=x"
CODECS = ["punycode", "zlib", "idna", "hex", "rot13", "utf-16", "latin1", '"utf-7"', "nonsense", "utf-8;charset=zlib"]
SENT = "Send the header Content-Type: {}. Received '{}'."
UNSUPPORTED = {
    JSON: {
        **{other: SENT.format(JSON, other) for other in ("text/plain", "", "x", "text/json", "application/json-patch")},
        MULTIPART: SENT.format(JSON, "multipart/form-data"),
        "Application/\x00JSON": SENT.format(JSON, r"application/\x00json"),
        FORM: SENT.format(JSON, FORM) + " curl and others send a form without that header.",
    },
    FORM: {
        JSON: SENT.format(FORM, JSON),
        MULTIPART: SENT.format(FORM, "multipart/form-data"),
    },
}


@pytest.mark.parametrize(
    ("path", "media_type", "limit"),
    [
        ("/api/fizzbuzz", JSON, MAX_BODY_BYTES),
        ("/api/fizzbuzz/batch", JSON, MAX_BODY_BYTES),
        ("/", FORM, MAX_FORM_BYTES),
        ("/admin/login/", FORM, MAX_FORM_BYTES),
    ],
)
def test_other_bodies_are_rejected_unread(client: Client, path: str, media_type: str, limit: int) -> None:
    def rejected(content_type: str, headers: dict[str, str] | None = None, length: int = 14) -> Any:
        unread: Any = {"CONTENT_LENGTH": str(length), "wsgi.input": None}  # reading it would fail
        return client.generic("POST", path, NUMBER, content_type, headers=headers, **unread)

    for content_type, detail in UNSUPPORTED[media_type].items():
        # As a form of another site would send it.
        response = rejected(content_type, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
        assert_explained(response, "unsupported-media-type", detail)
    for codec in CODECS:
        response = rejected(f"{media_type}; charset={codec}")
        assert_explained(response, "unsupported-media-type", "UTF-8 is the only charset. Send the body in UTF-8.")
    for coding in ("gzip", "x" * 99):
        detail = f"The Content-Encoding '{coding[:60]}' is not supported. Send the body without it."
        assert_explained(rejected(media_type, {"Content-Encoding": coding}), "unsupported-media-type", detail)
    detail = f"The body is larger than {limit} bytes. This request recorded nothing; split it into smaller requests."
    assert_explained(rejected(media_type, length=limit + 1), "content-too-large", detail)


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/api/fizzbuzz", JSON, NUMBER.ljust(MAX_BODY_BYTES), 201),
        ("/", FORM, b"number=15&more=".ljust(MAX_FORM_BYTES, b"x"), 303),
        ("/api/fizzbuzz", "APPLICATION/JSON ; Charset = UTF-8; version=1", NUMBER, 201),
        ("/api/fizzbuzz", 'application/json;charset="utf8"', NUMBER, 201),
        ("/", FORM + "; charset=UTF-8", b"number=15", 303),
    ],
)
def test_largest_bodies_and_utf8_are_accepted(
    client: Client, path: str, content_type: str, body: bytes, status: int
) -> None:
    response = client.generic("POST", path, body, content_type, headers={"Content-Encoding": "identity"})

    assert response.status_code == status
    assert Submission.objects.get().number == 15


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/fizzbuzz?number=15", 200),
        ("GET", "/", 200),
        ("POST", "/stats", 405),
        ("PUT", "/api/fizzbuzz", 405),
    ],
)
@pytest.mark.parametrize("content_type", [MULTIPART, FORM + "; charset=zlib"])
def test_other_bodies_are_not_read(client: Client, method: str, path: str, status: int, content_type: str) -> None:
    body: Any = {"CONTENT_LENGTH": "60000000", "wsgi.input": None}

    assert client.generic(method, path, "x", content_type, **body).status_code == status


def test_large_bodies_at_the_same_time_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_large_bodies", Bulkhead("large bodies", 1, wait_seconds=0))

    with gate._large_bodies.slot():
        large = client.generic("POST", "/api/fizzbuzz", NUMBER + b" " * gate.LARGE_BODY_BYTES, JSON)
        small = client.generic("POST", "/api/fizzbuzz", NUMBER, JSON)

    assert_explained(large, "too-many-requests", "Too many large bodies at the moment. Try again in 5 s.")
    assert large["Retry-After"] == "5"
    assert small.status_code == 201


def test_rejected_request_keeps_nothing_of_its_body() -> None:
    class Truncated:
        def read(self, size: int) -> bytes:
            raise ConnectionResetError

    environ: Any = {
        "CONTENT_LENGTH": "14",
        "CONTENT_TYPE": JSON,
        "PATH_INFO": "/api/fizzbuzz",
        "REQUEST_METHOD": "POST",
    }
    body = weakref.ref(environ.setdefault("wsgi.input", Truncated()))

    gate.admit(environ)

    assert environ[gate.REJECTION].status == 408
    assert body() is None  # else 300 clients that leave take 300 MiB until the next collection


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GEТ", "X" * 999]
ALLOWED = {
    "/": "GET, HEAD, POST",
    "/live": "GET, HEAD",
    "/numbers/15": "GET, HEAD",
    "/stats": "GET, HEAD",
    "/stats/activity.csv": "GET, HEAD",
    "/stats/most-common.jsonl": "GET, HEAD",
    "/stats/submissions.csv": "GET, HEAD",
    "/docs": "GET, HEAD, OPTIONS",
    "/docs/problems": "GET, HEAD, OPTIONS",
    "/info": "GET, HEAD",
    "/health": "GET, HEAD, OPTIONS",
    "/health/live": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD",
    "/admin/fizzbuzz/submission/download/": "GET, HEAD",
    "/api/": "GET, HEAD, OPTIONS",
    "/api/schema": "GET, HEAD, OPTIONS",
    "/api/fizzbuzz": "GET, POST, HEAD, OPTIONS",
    "/api/fizzbuzz/1": "GET, HEAD, OPTIONS",
    "/api/fizzbuzz/batch": "POST, OPTIONS",
    "/api/most_common": "GET, HEAD, OPTIONS",
    "/api/numbers/15": "GET, HEAD, OPTIONS",
}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ALLOWED)
def test_other_methods_are_rejected(staff_client: Client, path: str) -> None:
    Submission(id=1, number=15).save_base(force_insert=True)
    allowed = ALLOWED[path].split(", ")

    for method in METHODS:
        response = staff_client.generic(method, path, "{}", JSON if path.startswith("/api/") else FORM)

        if method in allowed:
            assert response.status_code in {200, 400, 403, 422}
            continue
        assert (response.status_code, response["Allow"]) == (405, ALLOWED[path])
        # Some have no body, or no error page.
        if method != "HEAD" and not path.startswith(("/health", "/metrics")):
            assert_explained(response, "method-not-allowed", f"Method not allowed; use {ALLOWED[path]}.")
