from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory
from prometheus_client import REGISTRY

from fizzbuzz.models import Submission
from fizzbuzz_site.http import rate_limit
from fizzbuzz_site.serving.gate import FORM, JSON
from tests.cache import Cache, caching, needs_redis
from tests.gated import GatedClient
from tests.marks import commits
from tests.problems import assert_explained
from tests.raw import recorded
from tests.service import eventually, serving

pytestmark = [needs_redis, commits]

UNAVAILABLE = "fizzbuzz_rate_limit_unavailable_total"


@pytest.fixture(scope="module")
def cache() -> Iterator[Cache]:
    with caching() as cache:
        yield cache


@pytest.fixture
def limited(settings: Any, cache: Cache) -> Client:
    """Return a client of a service that accepts three POSTs per hour."""
    cache.client.flushall()
    settings.REDIS_URL = cache.patient_url
    settings.RATE_LIMIT = (3, 3600)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "fizzbuzz_site.http.rate_limit.RateLimitMiddleware"]
    return GatedClient()


def submit(client: Client, address: str = "192.0.2.1", path: str = "/api/fizzbuzz") -> Any:
    return client.post(path, {"number": 15}, FORM if path == "/" else JSON, REMOTE_ADDR=address)


@pytest.mark.parametrize(("path", "status"), [("/api/fizzbuzz", 201), ("/", 303)])
def test_responses_have_rate_limit_headers_and_the_last_says_when_to_try_again(
    limited: Client, path: str, status: int
) -> None:
    *accepted, rejected = [submit(limited, path=path) for _ in range(4)]

    seconds = int(rejected["Retry-After"])
    assert 3500 < seconds <= 3600
    assert [(answer.status_code, answer["RateLimit-Policy"], answer["RateLimit"][:13]) for answer in accepted] == [
        (status, '"default";q=3;w=3600', f'"default";r={left}') for left in (2, 1, 0)
    ]
    assert rejected["RateLimit"] == f'"default";r=0;t={seconds}'
    detail = f"Rate limit exceeded. This request recorded nothing. Try again in {seconds} s."
    assert_explained(rejected, "too-many-requests", detail)
    assert Submission.objects.count() == 3


@pytest.mark.django_db(transaction=True)  # the login needs the admin's tables
def test_each_post_counts_and_reads_do_not(limited: Client) -> None:
    limited.post("/", {"number": "x"})
    for path in ("/", "/api/fizzbuzz", "/api/most_common", "/admin/login/"):
        assert "RateLimit" not in limited.get(path)

    last = limited.post("/admin/login/", {"username": "root", "password": "guess"})

    assert last["RateLimit"].startswith('"default";r=1;')
    assert [submit(limited, "127.0.0.1").status_code for _ in range(2)] == [201, 429]


def test_batch_counts_as_many_times_as_it_has_numbers(limited: Client) -> None:
    def send(*numbers: object) -> tuple[int, str]:
        response = limited.post("/api/fizzbuzz/batch", {"numbers": numbers}, JSON)
        return response.status_code, response["RateLimit"].partition(";t=")[0]

    assert [send(3, "5"), send(1, 2), send(1), send(1)] == [
        (201, '"default";r=1'),
        (429, '"default";r=1'),
        (201, '"default";r=0'),
        (429, '"default";r=0'),
    ]
    assert Submission.objects.count() == 3


def test_each_client_has_its_own_limit_until_the_window_expires(limited: Client, cache: Cache) -> None:
    same = ["2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6"]
    assert [submit(limited, address).status_code for address in same * 2] == [201, 201, 201, 429]
    (key,) = cache.client.keys()
    assert submit(limited, "2001:db8:1:3::1").status_code == 201

    cache.client.pexpire(key, 1)

    assert eventually(lambda: submit(limited, *same[:1]).status_code == 201)


def test_workers_share_one_exact_limit(cache: Cache, data_dir: Path) -> None:
    cache.client.flushall()
    limit = {"RATE_LIMIT": "20/hour", "REDIS_URL": cache.patient_url, "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(DATA_DIR=str(data_dir), **limit) as service, ThreadPoolExecutor(8) as pool:

        def flood(requests: int, **headers: str) -> Counter[int]:
            """Send this many submissions, eight at a time, each on a new connection."""
            sent = [pool.submit(service.request, "/api/fizzbuzz", {"number": 15}, **headers) for _ in range(requests)]
            return Counter(each.result().status for each in sent)

        other = {"X-Forwarded-For": "2001:db8::1"}
        assert [flood(60), flood(30, **other), recorded(service)] == [{201: 20, 429: 40}, {201: 20, 429: 10}, 40]


def test_unavailable_redis_disables_the_limit_and_is_called_once(
    cache: Cache, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL, settings.RATE_LIMIT = cache.url, (200, 3600)
    monkeypatch.setattr(rate_limit, "REDIS_TIMEOUT_SECONDS", 0.1)
    middleware = rate_limit.RateLimitMiddleware(lambda request: HttpResponse())

    def is_limited() -> bool:
        return "RateLimit" in middleware(RequestFactory().post("/"))

    for fail, recover, error in (
        (cache.suspend, cache.resume, "Timeout reading from socket"),
        (cache.kill, cache.start, f"Error 111 connecting to {cache.socket}. Connection refused."),
    ):
        assert eventually(is_limited)
        caplog.clear()
        before = REGISTRY.get_sample_value(UNAVAILABLE) or 0
        fail()
        begun = monotonic()
        assert not any(is_limited() for _ in range(100))
        assert monotonic() - begun < 10
        recover()

        assert caplog.messages == [f"Redis unavailable, rate limiting disabled: {error}"]
        assert REGISTRY.get_sample_value(UNAVAILABLE) == before + 100
        middleware._broken_until = 1e-9  # in the past
    assert eventually(is_limited)
    assert middleware._broken_until == 0
