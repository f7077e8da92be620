"""Hostile values in every input are rejected with an error response and never recorded."""

import gzip
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from fizzbuzz import rules
from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz_site.http.errors import INVALID_HOST
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


HOSTS = [
    "evil.example", "fizzbuzz.example.evil.example", "evilfizzbuzz.example", "[::1]", "192.0.2.1",
    "", ".", "*", "{{7}}", "[::1", "a..b/", "fizz_buzz.example", "fizz_buzz.example:8080",
    *(f"fizzbuzz.example{more}" for more in ("@evil.example", ":80@evil.example", ", evil.example", "/evil", ":http")),
]  # fmt: skip


JSON_VALUES = [
    "1e400", "-1e400", "1e-400", "1E+2", "15.0", "1e0", "0e1", "-0.0", "-" + "9" * 1_000_000,
    "0." + "0" * 1_000_000 + "1", "1" * 4_000 + "e4000", '"' + "9" * 1_000_000 + '"',
    r'"\ud800"', r'"\udc00\ud800"', r'"15\u0000"', r'"\u202e15"',
    '"' + "😀" * 100_000 + '"', "[" * 900 + "]" * 900, "{}", "[15]", "[[15]]", "true", "null",
]  # fmt: skip
BODIES = [
    gzip.compress(b'{"number": 15}', mtime=0), b"", b"\x00", b'{"number": 15}\x00', b"{'number': 15}",
    b'{"number": 15, }', b'{"number": 15} // now',
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
        assert response["Content-Type"] == "application/problem+json"
        problem = response.json()
        assert problem["status"] == status
        assert len(response.content) < 20_000
    else:
        assert response["Content-Type"] == "text/html; charset=utf-8"
        assert "<script>alert" not in response.text
        assert "<img src=x" not in response.text
        assert str(77777 * 7777) not in response.text


@pytest.mark.parametrize(("where", "status"), READS)
def test_reads_reject_hostile_values(client: Client, where: str, status: int) -> None:
    for text in [*map(quote, TEXTS), "%ff", "%ed%a0%80", "%c0%af", "%00", "%"]:
        path = where.format(text.replace("/", "%2F"))
        assert_rejected(client.get(path), status, path)


def test_cursor_rejects_hostile_values(client: Client) -> None:
    for text in TEXTS:
        path = f"/api/fizzbuzz?cursor={quote(text)}"
        response = client.get(path)
        if response.status_code == 200:  # decoded from base64 it is empty, which means the first page
            assert [each["number"] for each in response.json()["results"]] == [15]
        else:
            assert_rejected(response, 404, path)


@pytest.mark.parametrize("host", HOSTS)
def test_other_hosts_are_rejected(client: Client, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["fizzbuzz.example"]

    for path in ("/api/numbers/15", "/"):
        response = client.get(path, headers={"host": host})

        assert_explained(response, "bad-request", INVALID_HOST)
        assert "evil" not in response.text


@pytest.mark.parametrize(
    ("path", "wrap"),
    [
        ("/api/fizzbuzz", lambda text: {"number": text}),
        ("/api/fizzbuzz", lambda text: {"number": {text: 15}}),
        ("/api/fizzbuzz", lambda text: {text: 15}),
        ("/api/fizzbuzz", lambda text: [text]),
        ("/api/fizzbuzz/batch", lambda text: {"numbers": [15, text]}),
        ("/api/fizzbuzz/batch", lambda text: {"numbers": text}),
        ("/api/fizzbuzz/batch", lambda text: {"numbers": {text: text}}),
    ],
    ids=["number", "object", "name", "array", "numbers", "text of numbers", "object of numbers"],
)
def test_json_rejects_hostile_values(client: Client, path: str, wrap: Any) -> None:
    for text in TEXTS:
        assert_rejected(client.post(path, wrap(text), "application/json"), 400, path)


def test_forms_reject_hostile_values(client: Client) -> None:
    for text in TEXTS:
        if rules.without_invisible_ends(text) == "15":
            continue
        assert_rejected(client.post("/", {"number": text}), 422, "/")
        if text.strip():  # a blank key counts as none
            assert_rejected(client.post("/", {"number": "15", "key": text}), 422, "/")


def test_key_rejects_hostile_values(client: Client) -> None:
    for key in TEXTS:
        if len(key) > 255 or not key.isascii() or not key.isprintable() or " " in key:
            headers = {"Idempotency-Key": key}
            response = client.post("/api/fizzbuzz", {"number": 15}, "application/json", headers=headers)
            assert_rejected(response, 400, "/api/fizzbuzz")


@pytest.mark.parametrize(
    ("path", "template"), [("/api/fizzbuzz", '{"number": %s}'), ("/api/fizzbuzz/batch", '{"numbers": [%s]}')]
)
def test_hostile_bodies_are_rejected(client: Client, path: str, template: str) -> None:
    for body in [*BODIES, *(template % value for value in JSON_VALUES)]:
        assert_rejected(client.generic("POST", path, body, "application/json"), 400, path)
    for digits in (4_301, 1_000_000):
        response = client.generic("POST", path, template % ("1" * digits), "application/json")
        assert_explained(response, "bad-request", "The body contains a number with thousands of digits.")


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


def test_method_cannot_be_overridden(client: Client) -> None:
    for header in ("X-HTTP-Method-Override", "X-Method-Override"):
        response = client.post("/api/fizzbuzz/1", {}, "application/json", headers={header: "DELETE"})

        assert_rejected(response, 405, "/api/fizzbuzz/1")


@pytest.mark.parametrize("name", ["q", "kind", "created_at__gte", "o", "p", "e", "_popup", "number__regex", "id__in"])
def test_admin_handles_hostile_values(admin_user: User, name: str) -> None:
    client = Client()
    client.force_login(admin_user)

    # Django redirects to the list if a filter is invalid.
    for text in TEXTS if name == "q" else ["(", "\x00", "9" * 5_000, "1' OR '1'='1"]:
        assert client.get("/admin/fizzbuzz/submission/", {name: text}).status_code in {200, 302}
