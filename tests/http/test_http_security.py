"""HTTP attacks on the real service with HTTPS=1: forged headers, open redirects, security headers."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.raw import answer, connect
from tests.service import Answer, Service, serving

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


def send(service: Service, path: str, **headers: str) -> Answer:
    """Send a GET as a proxy hands it on. Redirects are not followed."""
    headers = {"Host": HOST, "X-Forwarded-Proto": "https", "Connection": "close", **headers}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with connect(service) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return answer(connection)


def test_links_use_only_the_requested_host(service: Service) -> None:
    assert send(service, "/api/", **FORGED).json() == {
        "fizzbuzz": f"https://{HOST}/api/fizzbuzz",
        "most_common": f"https://{HOST}/api/most_common",
    }
    assert send(service, "/numbers/+15", **FORGED).headers["Location"] == "/numbers/15"
    assert send(service, "//evil.example/numbers/+15", **FORGED).status == 404
    assert send(service, "/x/admin/login/", **FORGED | {"SCRIPT_NAME": "/x"}).status == 404
    assert "evil" not in send(service, "/docs", **FORGED).body
    assert "evil" not in send(service, "http://evil.example/api/").body


def test_other_requests_are_redirected_or_rejected(service: Service) -> None:
    plain, second_host = (
        send(service, "/stats", **{"X-Forwarded-Proto": "http"}),
        send(service, "/", host="evil.example"),
    )
    assert (plain.headers["Location"], second_host.status) == (f"https://{HOST}/stats", 400)


def test_no_url_redirects_to_another_site(service: Service) -> None:
    for path in (
        "//evil.example/", "//evil.example", "/\\evil.example/", "/%2f%2fevil.example", "/%5cevil.example",
        "/numbers//evil.example", "/numbers/%2F%2Fevil.example", "/numbers/\\evil.example",
        "/numbers/https:evil.example", "/numbers/15%0d%0aLocation:%20https:%2f%2fevil.example",
        "/numbers/+015?next=//evil.example", "/docs/?next=//evil.example", "/admin/login/?next=//evil.example",
        "/admin?next=//evil.example", "/admin//evil.example/", "/admin/r/1/1/", "/api//evil.example",
        "/static//evil.example", "/static/../evil.example",
    ):  # fmt: skip
        headers = send(service, path).headers

        target = headers.get("Location", "/")
        assert re.match(rf"(https://{re.escape(HOST)})?/(?![/\\])", target), (path, target)
        assert "evil" not in headers.get("Set-Cookie", "")


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
    response = send(service, path, Accept="text/html")

    assert response.status == status
    expected = SECURITY_HEADERS | ({"X-Frame-Options": None} if path in PROBES else {})
    assert {name: response.headers.get(name) for name in expected} == expected
    assert "Set-Cookie" not in response.headers or "; Secure" in response.headers["Set-Cookie"]
    if response.headers["Content-Type"].startswith("text/html"):
        assert set(response.headers["Content-Security-Policy"].split("; ")) == POLICY
        assert response.headers["Permissions-Policy"] == PERMISSIONS
        assert not re.search(r"<style|<script>| style=| on\w+=|javascript:", response.body)
