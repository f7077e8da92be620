"""Request IDs, log lines without secrets that no client can forge, and metrics: of each request."""

import json
import logging
import re
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from prometheus_client import REGISTRY

from fizzbuzz.request_id import request_id
from fizzbuzz_site.serving import log
from tests.marks import commits
from tests.raw import exchange
from tests.service import TIMEOUT_SECONDS, Service

MADE = re.compile(r"[0-9a-f]{16}")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_request_id_is_kept_if_a_trusted_proxy_sends_a_valid_one(client: Client, settings: Any) -> None:
    def of_response(given: str) -> str:
        return client.get("/nowhere", headers={"X-Request-ID": given})["X-Request-ID"]

    valid = ("0a-B_c.9", "x" * 64)
    assert all(MADE.fullmatch(of_response(given)) for given in valid)

    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    assert [of_response(given) for given in valid] == [*valid]
    for invalid in ("", "x" * 65, "a b", "a\nb", "\x1b[2J", 'a"b', "é", "\u202e", "${x}"):
        assert MADE.fullmatch(of_response(invalid))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ("GET /api/fizzbuzz?number=7", "GET submission-list 200"),
        ("GET /api/numbers/7", "GET number-detail 200"),
        ("POST /numbers/7", "POST number 405"),
        ("GET /admin/", "GET admin:index 302"),
        ("GET /metrics", "GET metrics 200"),
        ("GET /nowhere", "GET unmatched 404"),
        ("GET /api/nowhere", "GET unmatched 404"),
        ("BREW /", "unknown home 405"),
    ],
)
def test_each_request_logs_one_line(
    client: Client, settings: Any, capfd: pytest.CaptureFixture[str], sent: str, logged: str
) -> None:
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    method, path = sent.split()
    response = client.generic(method, path, headers={"X-Forwarded-For": "203.0.113.9"})

    (line,) = lines(capfd.readouterr().err)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("ms") > 0
    assert f"{line.pop('method')} {line.pop('route')} {line.pop('status')}" == logged
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": response["X-Request-ID"],
        "client": "203.0.113.9",
    }


def samples() -> dict[tuple[str, ...], float]:
    """Return the value of each series."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
    }


def increments(before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Return how much the request metrics have grown: counters, and histograms' counts and sums of bytes."""
    return {
        (name.removeprefix("django_http_"), *labels): value - before.get((name, *labels), 0)
        for (name, *labels), value in samples().items()
        if name.startswith("django_http_") and name.endswith(("_total", "_count", "_bytes_sum"))
        if value != before.get((name, *labels), 0)
    }


@commits
def test_request_updates_the_metrics_of_django_prometheus(client: Client) -> None:
    before = samples()
    response = client.post("/api/fizzbuzz", '{"number": 15}', "application/json")
    after = increments(before)
    client.get("/nothing")

    assert after == {
        ("requests_before_middlewares_total",): 1,
        ("responses_before_middlewares_total",): 1,
        ("requests_latency_including_middlewares_seconds_count",): 1,
        ("requests_latency_seconds_by_view_method_count", "submission-list", "POST"): 1,
        ("requests_total_by_method_total", "POST"): 1,
        ("requests_total_by_transport_total", "http"): 1,
        ("requests_total_by_view_transport_method_total", "submission-list", "http", "POST"): 1,
        ("requests_body_total_bytes_count",): 1,
        ("requests_body_total_bytes_sum",): 14,
        ("responses_total_by_status_total", "201"): 1,
        ("responses_total_by_status_view_method_total", "201", "submission-list", "POST"): 1,
        ("responses_total_by_charset_total", "utf-8"): 1,
        ("responses_body_total_bytes_count",): 1,
        ("responses_body_total_bytes_sum",): len(response.content),
    }
    assert {key: value for key, value in increments(before).items() if "<unnamed view>" in key} == {
        ("requests_latency_seconds_by_view_method_count", "<unnamed view>", "GET"): 1,
        ("responses_total_by_status_view_method_total", "404", "<unnamed view>", "GET"): 1,
    }


@commits
def test_client_input_creates_no_metric_series(client: Client) -> None:
    def invent(word: str) -> None:
        client.generic(word, "/api/fizzbuzz")
        client.generic(word, f"/{word}")
        for path in (f"/{word}", f"/api/{word}", f"/numbers/{word}"):
            client.get(path)
        client.get("/docs", headers={"host": f"{word}.example"})
        client.post("/api/fizzbuzz", "{}", f"text/{word}", headers={"accept": word})

    invent("INVENTED")
    before = samples().keys()

    for number in range(5):
        invent(f"INVENTED{number}")

    assert samples().keys() == before


@pytest.mark.django_db
def test_probes_have_a_request_id_but_no_log_line(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    answers = [client.get("/health"), client.get("/health/live")]

    assert all(MADE.fullmatch(answer["X-Request-ID"]) for answer in answers)
    assert capfd.readouterr().err == ""


@pytest.mark.django_db
def test_exception_is_logged_with_its_request_id(
    client: Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.raise_request_exception = False
    monkeypatch.setattr("fizzbuzz.counts.ranking.shared_count_of", lambda *_: 1 / 0)

    response = client.get("/api/numbers/15")

    error, request = lines(capfd.readouterr().err)
    assert error["request_id"] == request["request_id"] == response.json()["request_id"]
    assert (error["level"], error["event"]) == ("error", "Internal Server Error: /api/numbers/15")
    assert error["exception"].endswith("ZeroDivisionError: division by zero")


SECRETS = {
    "X-Secret": "hush-header",
    "Authorization": "Bearer hush-token",
    "Cookie": "sessionid=hush-cookie",
    "Idempotency-Key": "hush-key",
    "Referer": "http://hush-referer/",
    "User-Agent": "hush-agent",
}
FORGED = b'{"event":"request","status":200}'.hex("%")
LOCAL = "Host: localhost\r\n"
INVALID = [
    "GET / HTTP/1.1\r\nHost: hush-host\r\n",
    f"GET /?hush-query HTTP/1.1\r\n{LOCAL}Authorization Bearer hush-token\r\n",
    f"GET /?hush-query\x1b[2J HTTP/1.1\r\n{LOCAL}",
    f"HUSH#METHOD / HTTP/1.1\r\n{LOCAL}",
    f"POST /?hush-query HTTP/1.1\r\n{LOCAL}Transfer-Encoding: chunked\r\n\r\nhush-body",
    f"POST /api/fizzbuzz HTTP/1.1\r\n{LOCAL}Content-Length: 99\r\n\r\nhush-body",
    f"GET /health/live HTTP/1.1\r\n{LOCAL}\r\n/ GET\r\n",
    *(
        f"{line}\r\n{header}\r\nConnection: close\r\n"
        for line in (
            f"GET /%0a%{FORGED}%0a HTTP/1.1",
            "GET /%1b[2J%e2%80%ae HTTP/1.1",
            "GET\n{} / HTTP/1.1",
            "\x1b[2J / HTTP/1.1",
        )
        for header in (
            f"{LOCAL}X-Request-ID: \x1b[2J",
            f"{LOCAL}X-Request-ID: a\n{{}}",
            f"{LOCAL}X-Request-ID: \u202e",
            f"{LOCAL}X-Forwarded-For: \n{{}}",
            "Host: \u202e\x1b",
        )
    ),
]


def test_log_contains_no_secrets_and_no_forged_lines(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir), TRUSTED_PROXIES="127.0.0.1")
    answers = [
        service.request(path, data, **SECRETS)
        for path in ("/api/fizzbuzz", "/api/fizzbuzz?hush-query", "/", "/hush-path?hush-query", "/metrics", "/admin/")
        for data in (None, {"number": "hush-body"}, {"number": 15})
    ]
    assert {answer.status for answer in answers} >= {200, 201, 400, 404}
    for sent in INVALID:
        exchange(service, f"{sent}\r\n".encode())

    service.stop()

    log = service.log
    events = [json.loads(line) for line in log]
    assert len([event for event in events if event["event"] == "request"]) >= len(answers)
    assert all(line.removesuffix("\n").isascii() and line.removesuffix("\n").isprintable() for line in log)
    assert all({"time", "level"} <= event.keys() for event in events)  # a forged one has neither
    rejected = [event for event in events if "Invalid request from ip=127.0.0.1" in event["event"]]
    assert {event.get("request_id") for event in rejected} == {None}
    # The operator has to know the name in a rejected Host header.
    known = "Invalid HTTP_HOST header: 'hush-host'"
    assert [line for line in log if "hush" in line.lower() and known not in line] == []


def test_log_level_warning_omits_request_lines(capfd: pytest.CaptureFixture[str]) -> None:
    for level in ("warning", "error", "info"):
        log.request_logger(level, readable=False)(method=level)

    assert [line["method"] for line in lines(capfd.readouterr().err)] == ["info"]


def test_stalled_log_reader_blocks_no_request(data_dir: Path) -> None:
    reader, writer = socket.socketpair()  # as with systemd's journal
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the system takes its minimum, some 4 KiB

    class Unread(Service):
        stderr = writer.fileno()

    with reader, writer:
        service = Unread(DATA_DIR=str(data_dir))
        statuses = {service.request("/api/numbers/15").status for _ in range(50)}
        service.process.terminate()
        service.process.communicate(timeout=TIMEOUT_SECONDS)
        logged = reader.recv(1024 * 1024).splitlines()

    assert statuses == {200}
    assert len(logged) < 50


def test_line_is_shorter_than_pipe_buf() -> None:
    event = {"event": "broke", "exception": "\n\u202e" * 10_000 + "ValueError: why", "more": "x"}

    line = log._as_json(event)

    assert len(line) < 4096
    assert json.loads(line)["exception"].endswith("ValueError: why")
    assert json.loads(line)["event"] == "broke"


def test_terminal_gets_human_readable_lines(capfd: pytest.CaptureFixture[str]) -> None:
    request_id.set("")
    formatter = log.configuration("info", readable=True)["formatters"]["line"]
    raised = (ValueError, ValueError("\x1b[2J\u202e"), None)
    record = logging.makeLogRecord({"name": "some", "levelname": "ERROR", "msg": "\x1b[2J\n\u202e", "exc_info": raised})

    log.request_logger("info", readable=True)(method="POST", route="home", status=303, ms=1.5, client="::1")
    second, *_, last = formatter["()"](readable=True).format(record).splitlines()

    assert re.fullmatch(r"\d\d:\d\d:\d\d \[info\] POST home 303 +ms=1.5 client=::1\n", capfd.readouterr().err)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[error\] \\x1b\[2J\\n\\u202e +logger=some", second)
    assert last == r"ValueError: \x1b[2J\u202e"
