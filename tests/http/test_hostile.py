"""Hostile values in every input are rejected with an error response and never recorded."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client

from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz_site.http.errors import INVALID_HOST
from fizzbuzz_site.serving.gate import FORM, JSON
from tests.problems import assert_errors, assert_explained

pytestmark = pytest.mark.django_db

TEXTS = [
    "1' OR '1'='1", "15; DROP TABLE fizzbuzz_submission; --", "15) UNION SELECT version() --", "15 AND pg_sleep(9)",
    "%", "_", "' || '", "\\'", "$$", "E'\\x31'",
    "{{ 77777*7777 }}", "{% debug %}", "${77777*7777}", "{0.__class__}", "%(number)s", "%s%s%n", "#{77777*7777}",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "=1+1", "@SUM(1)",
    "15\r\nX-Injected: 1", "15\n16", "\x1b[31m15", "15\x00", "\x00", "\x7f", "\x85", "\u2028",
    "\u202e15", "\u206615\u2069", "\u200b15", "\ufeff15", "1\u03015", "１５", "٣", "①", "Ⅻ", "𝟙", "😀", "\uffff",
    "1e400", "1e-400", "1E+2", "0b1", "0o7", "1__5", "infinity", "nan", "null", "true", "[]", "{}", "$15", "15L", "15n",
    "../../etc/passwd", "..\\..\\", "/etc/passwd", "//evil.example", "file:///etc/passwd", "$(id)", "`id`", "| id",
    "9" * 5_000, "-" * 5_000, "0x" + "f" * 5_000,
]  # fmt: skip
READS = [
    ("/api/fizzbuzz?number={}", 400),
    ("/api/fizzbuzz?kind={}", 400),
    ("/api/fizzbuzz?format={}", 404),
    ("/api/most_common?limit={}", 400),
    ("/api/most_common?since={}", 400),
    ("/api/most_common?until={}", 400),
    ("/api/numbers/{}", 404),
    ("/api/fizzbuzz/{}", 404),
    ("/api/{}", 404),
    ("/numbers/{}", 404),
    ("/{}", 404),
]
SUBMISSIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "number": ("/api/fizzbuzz", lambda text: {"number": text}),
    "name": ("/api/fizzbuzz", lambda text: {text: 15}),
    "array": ("/api/fizzbuzz", lambda text: [text]),
    "numbers": ("/api/fizzbuzz/batch", lambda text: {"numbers": [15, text]}),
    "object of numbers": ("/api/fizzbuzz/batch", lambda text: {"numbers": {text: text}}),
    # Not alone: the form ignores invisible characters at the ends, and a blank key.
    "form": ("/", lambda text: {"number": f"1{text}5"}),
    "key of the form": ("/", lambda text: {"number": "15", "key": f"x{text}"}),
}
JSON_VALUES = [
    "1e400", "-1e400", "1e-400", "-0.0", "1" * 4_000 + "e4000", "0." + "0" * 1_000_000 + "1",
    '"' + "9" * 1_000_000 + '"', '"' + "😀" * 100_000 + '"', r'"\ud800"', r'"\udc00\ud800"',
]  # fmt: skip
HOSTS = [
    "evil.example", "fizzbuzz.example.evil.example", "[::1", "", "{{7}}", "fizz_buzz.example:8080",
    "fizzbuzz.example:80@evil.example", "fizzbuzz.example,evil.example",  # the last is two headers
]  # fmt: skip


@pytest.fixture(autouse=True)
def _one_row_before_and_after() -> Any:
    Submission.objects.create(number=15)
    yield
    assert Submission.objects.count() == 1
    assert not IdempotencyKey.objects.exists()


def assert_rejected(response: Any, status: int, path: str) -> None:
    assert response.status_code == status
    assert "X-Injected" not in response
    if path.startswith("/api/"):
        assert (response["Content-Type"], response.json()["status"]) == ("application/problem+json", status)
        assert len(response.content) < 20_000
    else:
        assert response["Content-Type"] == "text/html; charset=utf-8"
        assert not re.search(f"<script>alert|<img src=x|{77777 * 7777}", response.text)


@pytest.mark.parametrize(("where", "status"), READS)
def test_reads_reject_hostile_values(client: Client, where: str, status: int) -> None:
    for text in [*(quote(text, safe="") for text in TEXTS), "%ff", "%ed%a0%80", "%c0%af", "%00", "%"]:
        path = where.format(text)
        assert_rejected(client.get(path), status, path)


@pytest.mark.parametrize(("path", "wrap"), SUBMISSIONS.values(), ids=SUBMISSIONS)
def test_submissions_reject_hostile_values(client: Client, path: str, wrap: Callable[[str], Any]) -> None:
    media_type, encode, status = (FORM, urlencode, 422) if path == "/" else (JSON, json.dumps, 400)
    for text in TEXTS:
        assert_rejected(client.generic("POST", path, encode(wrap(text)), media_type), status, path)


@pytest.mark.parametrize(
    ("path", "template"), [("/api/fizzbuzz", '{"number": %s}'), ("/api/fizzbuzz/batch", '{"numbers": [%s]}')]
)
def test_hostile_json_is_rejected(client: Client, path: str, template: str) -> None:
    for value in JSON_VALUES:
        assert_rejected(client.generic("POST", path, template % value, JSON), 400, path)
    for value in ("1" * 4_301, "-" + "1" * 1_000_000):
        response = client.generic("POST", path, template % value, JSON)
        assert_explained(response, "bad-request", "The body contains a number with thousands of digits.")


@pytest.mark.parametrize("path", ["/api/numbers/15", "/"])
def test_other_hosts_are_rejected(client: Client, settings: Any, path: str) -> None:
    settings.ALLOWED_HOSTS = ["fizzbuzz.example"]

    for host in HOSTS:
        response = client.get(path, headers={"host": host})

        assert_explained(response, "bad-request", INVALID_HOST)
        assert "evil" not in response.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/fizzbuzz?number=15&number=16", "number"),
        ("/api/fizzbuzz?kind=Fizz&kind=Fizz", "kind"),
        ("/api/most_common?limit=1&limit=2", "limit"),
    ],
)
def test_duplicate_parameter_is_rejected(client: Client, path: str, name: str) -> None:
    assert_errors(client.get(path), (name, "Give this parameter once."))


def test_admin_handles_hostile_values(staff_client: Client) -> None:
    for name in ("q", "o", "p", "e", "_popup", "id__in"):
        for text in ("(", "\x00", "9" * 5_000):
            # Django redirects to the list if a filter is invalid.
            assert staff_client.get("/admin/fizzbuzz/submission/", {name: text}).status_code in {200, 302}
