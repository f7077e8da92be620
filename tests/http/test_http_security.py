"""HTTP attacks on the real service with HTTPS=1: ambiguous hosts, forged headers, open redirects, security headers."""

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.raw import exchange
from tests.service import TIMEOUT_SECONDS, Answer, Service, serving

HOST = "fizzbuzz.example"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
}
POLICY = {
    "default-src 'self'", "img-src 'self' data:", "object-src 'none'", "base-uri 'none'", "form-action 'self'",
    "frame-ancestors 'none'",
}  # fmt: skip
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
PROBES = ["/health", "/health/live", "/metrics"]
FORGED = {
    "X-Forwarded-Host": "evil.example",
    "X-Host": "evil.example",
    "X-Original-URL": "/admin/",
    "X-Rewrite-URL": "/admin/",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "host=evil.example;proto=http",
    "Script-Name": "/evil",
    "SCRIPT_NAME": "//evil.example",
    "PATH_INFO": "/admin/",
    "REMOTE_ADDR": "192.0.2.1",
}


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir), ALLOWED_HOSTS=HOST, HTTPS="1") as service:
        yield service


def send(service: Service, path: str, method: str = "GET", **headers: str) -> Answer:
    """Send a request as a proxy hands it on. Redirects are not followed."""
    connection = HTTPConnection(urlsplit(service.address).netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers={"Host": HOST, "X-Forwarded-Proto": "https", **headers})
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read().decode())
    finally:
        connection.close()


def raw(service: Service, *lines: bytes) -> bytes:
    """Send these lines, and return the raw response."""
    return exchange(service, b"\r\n".join([*lines, b"X-Forwarded-Proto: https", b"Connection: close", b"", b""]))


@pytest.mark.parametrize(
    "lines",
    [
        [b"Host: fizzbuzz.example", b"Host: evil.example"],
        [b"Host: evil.example", b"Host: fizzbuzz.example"],
        [b"Host : evil.example"],
        [b" Host: evil.example"],
        [b"Host: fizzbuzz.example\x00evil.example"],
        [b"Host: fizzbuzz.example\revil.example"],
        [b"Host: evil.example"],
        [],
    ],
    ids=["two", "two, the other first", "space", "folded", "NUL", "CR", "unknown", "none"],
)
def test_ambiguous_and_other_hosts_are_rejected(service: Service, lines: list[bytes]) -> None:
    answer = raw(service, b"GET /api/ HTTP/1.1", *lines)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://evil" not in answer


def test_links_use_only_the_requested_host(service: Service) -> None:
    assert send(service, "/api/", **FORGED).json() == {
        "fizzbuzz": f"https://{HOST}/api/fizzbuzz",
        "most_common": f"https://{HOST}/api/most_common",
    }
    assert send(service, "/numbers/+15", **FORGED).headers["Location"] == "/numbers/15"
    assert send(service, "//evil.example/numbers/+15", **FORGED).status == 404
    assert send(service, "/x/admin/login/", **FORGED | {"SCRIPT_NAME": "/x"}).status == 404
    assert "evil" not in send(service, "/docs", **FORGED).body
    assert b"evil" not in raw(service, b"GET http://evil.example/api/ HTTP/1.1", b"Host: fizzbuzz.example")


def test_http_redirects_to_https_of_the_same_host(service: Service) -> None:
    moved = send(service, "//evil.example/?next=//evil.example", **{"X-Forwarded-Proto": "http"})

    assert (moved.status, moved.headers["Location"]) == (301, f"https://{HOST}//evil.example/?next=//evil.example")
    assert send(service, "/", Host="evil.example", **{"X-Forwarded-Proto": "http"}).status == 400


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/", "//evil.example", "/\\evil.example/", "/%2f%2fevil.example", "/%5cevil.example",
        "/numbers//evil.example", "/numbers/%2F%2Fevil.example", "/numbers/\\evil.example",
        "/numbers/https:evil.example", "/numbers/15%0d%0aLocation:%20https:%2f%2fevil.example",
        "/numbers/+015?next=//evil.example", "/docs/?next=//evil.example", "/admin/login/?next=//evil.example",
        "/admin?next=//evil.example", "/admin//evil.example/", "/admin/r/1/1/", "/api//evil.example",
        "/static//evil.example", "/static/../evil.example",
    ],
)  # fmt: skip
def test_no_url_redirects_to_another_site(service: Service, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = send(service, path, method)

        target = answer.headers.get("Location", "/")
        assert re.match(rf"(https://{re.escape(HOST)})?/(?![/\\])", target), target
        assert "evil" not in answer.headers.get("Set-Cookie", "")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in ("/", "/numbers/15", "/stats", "/docs", "/docs/problems", "/admin/login/", "/info")),
        *((path, 200) for path in ("/api/", "/api/fizzbuzz", "/api/numbers/15", "/api/most_common")),
        *((path, 400) for path in ("/stats?window=x", "/api/most_common?limit=x")),
        *((path, 404) for path in ("/numbers/x", "/nowhere", "/api/nowhere")),
        *((path, 200) for path in PROBES),
    ],
)
def test_every_response_has_strict_security_headers(service: Service, path: str, status: int) -> None:
    answer = send(service, path, Accept="text/html")

    assert answer.status == status
    expected = SECURITY_HEADERS | ({"X-Frame-Options": None} if path in PROBES else {})
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "Set-Cookie" not in answer.headers or "; Secure" in answer.headers["Set-Cookie"]
    if answer.headers["Content-Type"].startswith("text/html"):
        assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
        assert answer.headers["Permissions-Policy"] == PERMISSIONS
        assert not re.search(r"<style|<script>| style=| on\w+=|javascript:", answer.body)
