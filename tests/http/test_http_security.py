"""HTTP attacks on the real service with HTTPS=1: hosts, redirects, security headers, cross-site forms, cookies."""

import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.raw import exchange
from tests.service import TIMEOUT_SECONDS, Answer, Service, eventually, manage, serving

HOST = "fizzbuzz.example"
POLICY = {
    "default-src 'self'",
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
}


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    environment = {"DATA_DIR": str(shared_data_dir)}
    with serving(**environment, ALLOWED_HOSTS=HOST, HTTPS="1") as service:
        account = {"DJANGO_SUPERUSER_USERNAME": "root", "DJANGO_SUPERUSER_PASSWORD": "x"}
        process = manage("createsuperuser", "--noinput", "--email", "root@localhost", **account, **environment)
        assert process.communicate(timeout=TIMEOUT_SECONDS)[1] == ""
        yield service


def send(service: Service, method: str, path: str, body: str = "", **headers: str) -> Answer:
    """As a proxy hands it on; redirects are not followed."""
    connection = HTTPConnection(urlsplit(service.address).netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {"Host": HOST, "X-Forwarded-Proto": "https", **headers})
        response = connection.getresponse()
        headers = {name: ", ".join(response.headers.get_all(name, [])) for name in response.headers}
        return Answer(response.status, headers, response.read().decode())
    finally:
        connection.close()


def raw(service: Service, *lines: bytes) -> bytes:
    """Send these lines, and return the raw response."""
    return exchange(service, b"\r\n".join([*lines, b"X-Forwarded-Proto: https", b"Connection: close", b"", b""]))


@pytest.mark.parametrize(
    "lines",
    [
        [b"GET /api/ HTTP/1.1", b"Host: fizzbuzz.example", b"Host: evil.example"],
        [b"GET /api/ HTTP/1.1", b"Host: evil.example", b"Host: fizzbuzz.example"],
        [b"GET /api/ HTTP/1.1", b"Host : evil.example"],
        [b"GET /api/ HTTP/1.1", b" Host: evil.example"],
        [b"GET /api/ HTTP/1.1", b"Host: fizzbuzz.example\x00evil.example"],
        [b"GET /api/ HTTP/1.1", b"Host: fizzbuzz.example\revil.example"],
        [b"GET /api/ HTTP/1.1"],
    ],
    ids=["two", "two, the other first", "space", "folded", "NUL", "CR", "none"],
)
def test_ambiguous_hosts_are_rejected(service: Service, lines: list[bytes]) -> None:
    answer = raw(service, *lines)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://evil" not in answer


def test_links_use_only_the_requested_host(service: Service) -> None:
    headers = {
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

    assert send(service, "GET", "/api/", **headers).json() == {
        "fizzbuzz": f"https://{HOST}/api/fizzbuzz",
        "most_common": f"https://{HOST}/api/most_common",
    }
    assert send(service, "GET", "/numbers/+15", **headers).headers["Location"] == "/numbers/15"
    assert send(service, "GET", "//evil.example/numbers/+15", **headers).status == 404
    assert send(service, "GET", "/x/admin/login/", **headers | {"SCRIPT_NAME": "/x"}).status == 404
    assert "evil" not in send(service, "GET", "/docs", **headers).body
    absolute = raw(service, b"GET http://evil.example/api/ HTTP/1.1", b"Host: fizzbuzz.example")
    assert b"evil" not in absolute


def test_http_redirects_to_https_of_the_same_host(service: Service) -> None:
    moved = send(service, "GET", "//evil.example/?next=//evil.example", **{"X-Forwarded-Proto": "http"})

    assert (moved.status, moved.headers["Location"]) == (301, f"https://{HOST}//evil.example/?next=//evil.example")
    assert send(service, "GET", "/", Host="evil.example", **{"X-Forwarded-Proto": "http"}).status == 400


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/",
        "//evil.example",
        "/\\evil.example/",
        "/%2f%2fevil.example",
        "/%5cevil.example",
        "/numbers//evil.example",
        "/numbers/%2F%2Fevil.example",
        "/numbers/\\evil.example",
        "/numbers/https:evil.example",
        "/numbers/15%0d%0aLocation:%20https:%2f%2fevil.example",
        "/numbers/+015?next=//evil.example",
        "/docs/?next=//evil.example",
        "/admin/login/?next=//evil.example",
        "/admin?next=//evil.example",
        "/admin//evil.example/",
        "/admin/r/1/1/",
        "/api//evil.example",
        "/static//evil.example",
        "/static/../evil.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_url_redirects_to_another_site(service: Service, method: str, path: str) -> None:
    answer = send(service, method, path)

    target = answer.headers.get("Location", "/")
    assert re.match(rf"(https://{re.escape(HOST)})?/(?![/\\])", target), target
    assert "Set-Cookie" not in answer.headers or "evil" not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/numbers/15", 200),
        ("/stats", 200),
        ("/stats?window=x", 400),
        ("/numbers/x", 404),
        ("/docs", 200),
        ("/docs/problems", 200),
        ("/nowhere", 404),
        ("/admin/login/", 200),
        ("/api/", 200),
        ("/api/fizzbuzz", 200),
        ("/api/numbers/15", 200),
        ("/api/most_common", 200),
        ("/api/most_common?limit=x", 400),
        ("/api/nowhere", 404),
        ("/info", 200),
    ],
)
def test_every_response_has_strict_security_headers(service: Service, path: str, status: int) -> None:
    answer = send(service, "GET", path, Accept="text/html")

    assert answer.status == status
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    if answer.headers["Content-Type"].startswith("text/html"):
        assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
        assert answer.headers["Permissions-Policy"] == PERMISSIONS
        assert not re.search(r"<style|<script>| style=| on\w+=|javascript:", answer.body)


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
def test_probes_have_the_headers_of_responses_that_are_no_pages(service: Service, path: str) -> None:
    answer = send(service, "GET", path)

    for name in ("X-Content-Type-Options", "Strict-Transport-Security"):
        assert answer.headers[name] == SECURITY_HEADERS[name]


def cookies(answer: Answer) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=([^;]*);", answer.headers["Set-Cookie"]))


def test_form_is_accepted_only_from_this_site(service: Service) -> None:
    count = send(service, "GET", "/api/numbers/4711").json()["count"]
    urlencoded = {"Content-Type": "application/x-www-form-urlencoded"}

    rejected = [
        send(service, "POST", "/", "number=4711", **urlencoded, **headers)
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": f"http://{HOST}"},
            {"Origin": f"https://{HOST}.evil.example"},
            {"Origin": "null"},
            {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "cross-site"},
        )
    ]

    assert [answer.status for answer in rejected] == [403] * 5
    assert all("Cross-site submission rejected." in answer.body for answer in rejected)
    assert send(service, "GET", "/api/numbers/4711").json()["count"] == count
    own = {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"}
    assert send(service, "POST", "/", "number=4711", **urlencoded, **own).status == 303
    assert send(service, "GET", "/api/numbers/4711").json()["count"] == count + 1


def test_cookies_are_secure_and_same_site(service: Service) -> None:
    page = send(service, "GET", "/admin/login/")
    token = cookies(page)["csrftoken"]
    form = urlencode({"username": "root", "password": "x", "next": "//evil.example", "csrfmiddlewaretoken": token})
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": f"csrftoken={token}",
        "Origin": f"https://{HOST}",
    }

    entered = send(service, "POST", "/admin/login/", form, **headers)

    assert entered.status == 302
    assert "evil" not in entered.headers["Location"]
    assert re.search(
        r"sessionid=\w+; expires=[^;]+; HttpOnly; Max-Age=43200; Path=/; SameSite=Strict; Secure$",
        entered.headers["Set-Cookie"],
    )


def series(service: Service) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in send(service, "GET", "/metrics").body.splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def invent(service: Service, word: str) -> None:
    send(service, word, "/api/fizzbuzz")
    send(service, word, f"/{word}")
    send(service, "GET", f"/{word}")
    send(service, "GET", f"/api/{word}")
    send(service, "GET", f"/numbers/{word}")
    send(service, "GET", "/docs", Host=f"{word}.example")
    send(service, "POST", "/api/fizzbuzz", "{}", **{"Content-Type": f"text/{word}", "Accept": word})


def test_client_input_creates_no_metric_series(service: Service) -> None:
    def is_folded() -> bool:
        found = series(service)
        return {'fizzbuzz_folds_total{outcome="done"}', "fizzbuzz_last_fold_age_seconds"} <= found.keys()

    send(service, "POST", "/api/fizzbuzz", '{"number": 15}', **{"Content-Type": "application/json"})
    assert eventually(is_folded)  # the service's own work makes series too, once
    invent(service, "INVENTED")
    before = series(service)

    for number in range(200):
        invent(service, f"INVENTED{number}")

    assert series(service).keys() - before.keys() == set()
