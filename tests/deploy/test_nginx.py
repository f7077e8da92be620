"""deploy/nginx.conf with a real service: cache, headers, limits and forbidden paths. TLS: test_containers.py."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.proxy import Proxy, needs_nginx, proxying, reload
from tests.raw import post
from tests.service import TIMEOUT_SECONDS, Answer, Service, eventually, serving

pytestmark = [needs_nginx, pytest.mark.slow]

VISITS = 1_000
SHARED_SECONDS = 2  # s-maxage of the shared pages
HOST = "fizzbuzz.example"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Site(NamedTuple):
    service: Service
    proxy: Proxy

    def requests(self, view: str) -> int:
        """Return how many requests reached this view of the service."""
        page = self.service.request("/metrics", Host=HOST).body
        pattern = rf'^django_http_requests_total_by_view_transport_method_total{{.*view="{view}".*}} (\S+)$'
        return int(sum(float(count) for count in re.findall(pattern, page, re.MULTILINE)))

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self.proxy.port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request(method, path, body, {"Host": HOST, **headers})
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode(errors="replace"))


@pytest.fixture(scope="module")
def site(shared_data_dir: Path) -> Iterator[Site]:
    environment = {"ALLOWED_HOSTS": HOST, "TRUSTED_PROXIES": "127.0.0.1", "METRICS_TOKEN": ""}
    with (
        serving(DATA_DIR=str(shared_data_dir), **environment) as service,
        proxying(urlsplit(service.address).port or 0) as proxy,
    ):
        yield Site(service, proxy)


@pytest.mark.parametrize(
    ("path", "view"), [("/?", "home"), ("/live?", "live"), ("/stats?", "stats"), ("/stats?window=day&", "stats")]
)
def test_many_visits_cause_few_requests_to_the_service_and_each_post_one(site: Site, path: str, view: str) -> None:
    def visit(index: int) -> Answer:
        return site.send("GET", f"{path}{index}", Cookie=f"a={index}")

    before = site.requests(view)
    started = monotonic()
    with ThreadPoolExecutor(20) as clients:
        answers = [*clients.map(visit, range(VISITS))]
    renewals = (monotonic() - started) // SHARED_SECONDS + 2
    after = site.requests(view)

    assert {answer.status for answer in answers} == {200}
    assert 1 <= after - before <= renewals
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == VISITS  # also for cached responses
    assert [site.send("POST", path, "number=15", **FORM).headers.get("X-Cache") for _ in range(2)] == [None, None]
    assert site.requests(view) == after + 2


def test_cached_page_is_the_same_for_all_and_compressed_on_request(site: Site) -> None:
    plain = site.send("GET", "/live", **{"Accept-Encoding": "gzip;q=0, br", "Cookie": "csrftoken=a"})
    compressed = site.send("GET", "/live", **{"Accept-Encoding": "deflate, gzip;q=0.5"})

    assert {"Set-Cookie", "Content-Encoding"}.isdisjoint(plain.headers)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert len(compressed.body) < len(plain.body) / 2


def test_cache_key_has_no_parameter_but_window(site: Site) -> None:
    paths = ("/stats", "/stats?WINDOW=day&x=1", "/stats?window=day", "/stats?window=week")

    hour, also_hour_or_day, day, week = (site.send("GET", path).body for path in paths)

    assert also_hour_or_day in {hour, day}
    assert site.send("GET", "/stats?window=x").status == 400
    assert len({hour, day, week}) == 3


def test_static_files_are_kept_for_years_and_cached(site: Site) -> None:
    (path,) = set(re.findall(r'href="(/static/tokens\.[0-9a-f]+\.css)"', site.send("GET", "/stats").body))

    first, second = (site.send("GET", path) for _ in range(2))

    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert second.headers["Cache-Control"] == "max-age=315360000, public, immutable"
    assert first.body == second.body


METRICS = ["/metrics", "//metrics", "/%6detrics", "/x/../metrics", "/metrics?x"]
ADMIN = ["/admin", "/admin/", "/admin/login/", "/%61dmin/login/", "//admin/login/", "/./admin/", "/live/../admin/"]


def test_metrics_and_admin_are_forbidden_except_to_networks_in_admin_conf(site: Site) -> None:
    closed = ["/info", *METRICS, *ADMIN]
    assert {path: site.send("GET", path).status for path in closed} == dict.fromkeys(closed, 403)

    (site.proxy.parts / "admin.conf").write_text("allow 127.0.0.0/8;\n")
    reload(site.proxy.process)
    assert [site.send("GET", path).status for path in ("/admin/", "/metrics")] == [302, 403]


def test_client_can_hold_64_requests_and_no_more(site: Site) -> None:
    with ExitStack() as open_:
        for _ in range(64):
            connection = socket.create_connection(("127.0.0.1", site.proxy.port), TIMEOUT_SECONDS)
            open_.enter_context(connection).sendall(post(b"Content-Length: 14"))
        assert eventually(lambda: site.send("GET", "/health/live").status == 429)

    assert eventually(lambda: site.send("GET", "/health/live").status == 200)


class Echo(BaseHTTPRequestHandler):
    """Respond with the headers of the request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(self.headers)).encode())


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
    with HTTPServer(("127.0.0.1", 0), Echo) as server, proxying(server.server_port) as proxy:
        Thread(target=server.handle_request).start()
        answer = Site(site.service, proxy).send("GET", "/", Cookie="a=b", **spoofed)
    problem = site.send("POST", "/api/fizzbuzz", "{}", **JSON, **spoofed)

    assert answer.json() == {
        "Host": HOST,
        "X-Request-ID": answer.headers["X-Request-ID"],
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
    }
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert problem.json()["request_id"] == problem.headers["X-Request-ID"]


def test_body_limit_is_that_of_the_service(site: Site) -> None:
    body = '{"number": "x"}'.ljust(1024 * 1024)

    assert [site.send("POST", "/api/fizzbuzz", each, **JSON).status for each in (body, body + " ")] == [400, 413]


@pytest.mark.parametrize(
    ("line", "header", "headers", "status"),
    [(3_000, 8_000, 40, 200), (5_000, 0, 0, 414), (9_000, 0, 0, 414), (0, 9_000, 0, 400), (0, 0, 64, 431)],
)
def test_header_limits_are_those_of_the_service(site: Site, line: int, header: int, headers: int, status: int) -> None:
    long = {"X-Long": "x" * header} | {f"X-{index}": "x" for index in range(headers)}

    assert site.send("GET", "/health/live?" + "x" * line, **long).status == status
