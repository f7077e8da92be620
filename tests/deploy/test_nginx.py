"""deploy/nginx.conf with a real service: cache, headers, limits and forbidden paths."""

import json
import re
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.proxy import Proxy, needs_nginx, proxying
from tests.raw import post
from tests.service import TIMEOUT_SECONDS, Answer, Service, eventually, serving

pytestmark = [needs_nginx, pytest.mark.slow]

VISITS = 1_000
CLIENTS = 20
SHARED_SECONDS = 2  # s-maxage of the shared pages
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HOST = "fizzbuzz.example"


class Site(NamedTuple):
    service: Service
    proxy: Proxy

    def connect(self) -> HTTPSConnection:
        assert self.proxy.tls_port
        context = ssl.create_default_context(cafile=str(self.proxy.certificate))
        return HTTPSConnection("127.0.0.1", self.proxy.tls_port, timeout=TIMEOUT_SECONDS, context=context)

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        with closing(self.connect()) as connection:
            return send(connection, method, path, body, **headers)

    def requests(self, view: str) -> int:
        """Return how many requests reached this view of the service."""
        page = self.service.request("/metrics", Host=HOST).body
        pattern = rf'^django_http_requests_total_by_view_transport_method_total{{.*view="{view}".*}} (\S+)$'
        return int(sum(float(count) for count in re.findall(pattern, page, re.MULTILINE)))


def send(connection: HTTPConnection, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
    connection.request(method, path, body, {"Host": HOST, **headers})
    response = connection.getresponse()
    return Answer(response.status, dict(response.headers), response.read().decode(errors="replace"))


@pytest.fixture(scope="module")
def site(shared_data_dir: Path) -> Iterator[Site]:
    environment = {"ALLOWED_HOSTS": HOST, "TRUSTED_PROXIES": "127.0.0.1", "METRICS_TOKEN": ""}
    with serving(DATA_DIR=str(shared_data_dir), **environment) as service:
        port = urlsplit(service.address).port
        assert port
        with proxying(port, tls=True) as proxy:
            yield Site(service, proxy)


@pytest.mark.parametrize(
    ("path", "view"), [("/", "home"), ("/live", "live"), ("/stats", "stats"), ("/stats?window=day", "stats")]
)
def test_many_visitors_cause_few_requests_to_the_service(site: Site, path: str, view: str) -> None:
    def visit(client: int) -> Counter[int]:
        urls = [f"{path}{'&' if '?' in path else '?'}{client}={each}" for each in range(VISITS // CLIENTS)]
        with closing(site.connect()) as connection:
            answers = [send(connection, "GET", url, Cookie=f"a={client}") for url in urls]
        ids.update(answer.headers["X-Request-ID"] for answer in answers)
        return Counter(answer.status for answer in answers)

    ids: set[str] = set()
    before = site.requests(view)
    started = monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = sum(pool.map(visit, range(CLIENTS)), Counter[int]())
    renewals = (monotonic() - started) // SHARED_SECONDS + 2

    assert statuses == {200: VISITS}
    assert 1 <= site.requests(view) - before <= renewals
    assert len(ids) == VISITS  # request IDs are unique, also for cached responses


@pytest.mark.parametrize(("path", "view"), [("/", "home"), ("/live", "live"), ("/stats", "stats")])
def test_post_to_a_cached_path_reaches_the_service(site: Site, path: str, view: str) -> None:
    site.send("GET", path)
    before = site.requests(view)

    answers = [site.send("POST", path, "number=15", **FORM) for _ in range(2)]

    assert [answer.headers.get("X-Cache") for answer in answers] == [None, None]
    assert site.requests(view) == before + 2


def test_cached_page_is_the_same_for_all_and_compressed_on_request(site: Site) -> None:
    plain = site.send("GET", "/live", **{"Accept-Encoding": "gzip;q=0, br", "Cookie": "csrftoken=a"})
    compressed = site.send("GET", "/live", **{"Accept-Encoding": "deflate, gzip;q=0.5"})
    again = site.send("GET", "/live", **{"If-None-Match": plain.headers["ETag"]})

    assert "Set-Cookie" not in plain.headers
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert len(compressed.body) < len(plain.body) / 2
    assert again.status in {200, 304}  # 200 if the page was renewed in between


def test_cache_key_has_no_parameter_but_window(site: Site) -> None:
    paths = ("/stats", "/stats?WINDOW=day&x=1", "/stats?window=day", "/stats?window=week")

    hour, also_hour_or_day, day, week = (site.send("GET", path).body for path in paths)

    assert also_hour_or_day in {hour, day}
    assert site.send("GET", "/stats?window=x").status == 400
    assert len({hour, day, week}) == 3


def test_static_files_are_kept_for_years_and_cached(site: Site) -> None:
    (path,) = set(re.findall(r'href="(/static/tokens\.[0-9a-f]+\.css)"', site.send("GET", "/stats").body))

    answers = [site.send("GET", path) for _ in range(2)]

    assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "HIT"]
    assert answers[1].headers["Cache-Control"] == "max-age=315360000, public, immutable"
    assert answers[0].body == answers[1].body


@pytest.mark.parametrize(
    "path",
    [
        "/info",
        "/metrics",
        "//metrics",
        "/%6detrics",
        "/x/../metrics",
        "/metrics?x",
        "/admin",
        "/admin/",
        "/admin/login/",
        "/%61dmin/login/",
        "//admin/login/",
        "/./admin/login/",
        "/live/../admin/login/",
    ],
)
def test_metrics_and_admin_are_forbidden(site: Site, path: str) -> None:
    assert site.send("GET", path).status == 403


def test_client_can_hold_64_requests_and_no_more(site: Site) -> None:
    with ExitStack() as open_:
        for _ in range(64):
            connection = socket.create_connection(("127.0.0.1", site.proxy.port), TIMEOUT_SECONDS)
            open_.enter_context(connection).sendall(post(b"Content-Length: 14"))
        assert eventually(lambda: site.send("GET", "/health/live").status == 429)
        rejected = site.send("GET", "/health/live")

    assert rejected.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert eventually(lambda: site.send("GET", "/health/live").status == 200)


def test_forwarded_headers_of_clients_are_replaced(site: Site) -> None:
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "666",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Server": "evil.example",
        "X-Real-IP": "203.0.113.9",
        "X-Request-ID": "chosen-by-the-client",
        "Forwarded": "for=203.0.113.9;host=evil.example",
        "X_Forwarded_For": "203.0.113.9",
        "REMOTE_ADDR": "203.0.113.9",
        "SCRIPT_NAME": "/evil",
    }
    with echoing() as port, proxying(port) as proxy:
        answer = get(proxy, "/", Cookie="a=b", **spoofed)
    passed = answer.json()
    problem = site.send("POST", "/api/fizzbuzz", "{}", **JSON, **spoofed)

    assert passed == {
        "Host": HOST,
        "X-Request-ID": answer.headers["X-Request-ID"],
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
    }
    assert re.fullmatch("[0-9a-f]{32}", passed["X-Request-ID"])
    assert problem.json()["request_id"] == problem.headers["X-Request-ID"]


def test_admin_is_allowed_for_networks_in_admin_conf() -> None:
    with echoing() as port, proxying(port) as proxy:
        (proxy.parts / "admin.conf").write_text("allow 127.0.0.0/8;\n")
        proxy.lead_to(port)
        statuses = [get(proxy, path).status for path in ("/admin/", "/metrics")]

    assert statuses == [200, 403]


def get(proxy: Proxy, path: str, **headers: str) -> Answer:
    with closing(HTTPConnection("127.0.0.1", proxy.port, timeout=TIMEOUT_SECONDS)) as connection:
        return send(connection, "GET", path, **headers)


@contextmanager
def echoing() -> Iterator[int]:
    """Start a server that responds with the headers of the request; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(dict(self.headers)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("size", "status"), [(1024 * 1024, 400), (1024 * 1024 + 1, 413)])
def test_body_limit_is_that_of_the_service(site: Site, size: int, status: int) -> None:
    body = f'{{"number": "{"x" * (size - 14)}"}}'

    assert len(body) == size
    assert site.send("POST", "/api/fizzbuzz", body, **JSON).status == status


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/health/live?" + "x" * 3_000, {}, 200),
        ("/health/live?" + "x" * 5_000, {}, 414),
        ("/health/live?" + "x" * 9_000, {}, 414),
        ("/health/live", {"X-Long": "x" * 8_000}, 200),
        ("/health/live", {"X-Long": "x" * 9_000}, 400),
        ("/health/live", {f"X-{index}": "x" for index in range(40)}, 200),
        ("/health/live", {f"X-{index}": "x" for index in range(64)}, 431),
    ],
    ids=["line", "long line", "longer line", "header", "long header", "headers", "many headers"],
)
def test_header_limit_is_that_of_the_service(site: Site, path: str, headers: dict[str, str], status: int) -> None:
    assert site.send("GET", path, **headers).status == status
