from typing import Any

from django.test import Client
from prometheus_client import REGISTRY

from tests.marks import commits


def counted() -> dict[tuple[Any, ...], float]:
    """Return the values of the request metrics: of counters, and of histograms' counts and sums."""
    return {
        (sample.name.removeprefix("django_http_"), *sample.labels.values()): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("django_http_") and sample.name.endswith(("_total", "_count", "_bytes_sum"))
    }


def increments(before: dict[tuple[Any, ...], float]) -> dict[tuple[Any, ...], float]:
    return {key: value - before.get(key, 0) for key, value in counted().items() if value != before.get(key, 0)}


@commits
def test_request_updates_the_metrics_of_django_prometheus(client: Client) -> None:
    before = counted()

    response = client.post("/api/fizzbuzz", '{"number": 15}', "application/json")

    assert increments(before) == {
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


def test_unknown_url_has_no_view_label(client: Client) -> None:
    before = counted()

    client.get("/nothing")

    assert {key: value for key, value in increments(before).items() if "view" in key[0]} == {
        ("requests_latency_seconds_by_view_method_count", "<unnamed view>", "GET"): 1,
        ("responses_total_by_status_view_method_total", "404", "<unnamed view>", "GET"): 1,
    }


@commits
def test_metrics_require_the_token(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "secret"

    answers = [
        client.get("/metrics", headers={"Authorization": sent} if sent else None)
        for sent in ("Bearer secret", "", "Bearer", "Bearer secre", "Bearer secret2", "secret", "Bearer sécret")
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401, 401, 401, 401]
    assert {answer.headers.get("WWW-Authenticate") for answer in answers[1:]} == {"Bearer"}
    assert answers[1].text == 'Send "Authorization: Bearer <METRICS_TOKEN>".\n'


def test_metrics_are_forbidden_by_default(client: Client, settings: Any) -> None:
    settings.METRICS_PUBLIC = False

    answer = client.get("/metrics")

    assert answer.status_code == 403
    assert answer.text == "Metrics are disabled. Set METRICS_TOKEN or METRICS_PUBLIC=1.\n"


@commits
def test_metrics_accept_any_host_and_plain_http_with_the_token(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.METRICS_TOKEN = "secret"

    answers = [
        client.get("/metrics", headers={"host": "10.0.0.7:8080", "Authorization": sent})
        for sent in ("Bearer secret", "")
    ]

    assert [answer.status_code for answer in answers] == [200, 401]
