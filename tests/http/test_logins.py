"""Logins to the admin: lockouts by account and IP address, sessions, CSRF, and hashing that leaves time to others."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib import admin
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from fizzbuzz.bulkhead import Bulkhead, Busy
from fizzbuzz_site import settings as of_production
from fizzbuzz_site.http import logins
from tests.problems import assert_explained

LOGIN = "/admin/login/"
PASSWORD = "correct horse"
# As in a gunicorn worker: gevent patches before Django is imported.
IN_GEVENT = """
from gevent import monkey
monkey.patch_all()
import django, gevent, json, os
django.setup()
from django.contrib.auth.hashers import make_password
from fizzbuzz.bulkhead import Busy
from fizzbuzz_site.http import logins
logins.hashing._wait_seconds = 0
niceness = os.getpriority(os.PRIO_PROCESS, 0)
def attempt(turn):
    try:
        return make_password("correct horse").split("$")[:2]
    except Busy:
        return "busy"
attempts = [gevent.spawn(attempt, turn) for turn in range(3)]
turns = 0
while not all(attempt.dead for attempt in attempts):
    gevent.sleep(0.001)
    turns += 1
print(json.dumps({"attempts": [attempt.value for attempt in attempts], "others had turns": turns > 20,
                  "main thread kept its priority": os.getpriority(os.PRIO_PROCESS, 0) == niceness}))
"""


@pytest.fixture(autouse=True)
def root(db: None) -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def slow_hashes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PASSWORD_HASHERS = of_production.PASSWORD_HASHERS
    monkeypatch.setattr(logins.PasswordHasher, "_next_start", 0.0)


@pytest.fixture
def all_slots_taken(slow_hashes: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logins, "hashing", Bulkhead("passwords are being checked", 1, 0))
    with logins.hashing.slot():
        yield


def sign_in(password: str, username: str = "root", address: str = "192.0.2.1", **headers: str) -> Any:
    """Sign in with a new browser session."""
    form = {"username": username, "password": password, "next": "//evil.example"}
    return Client().post(LOGIN, form, headers=headers, REMOTE_ADDR=address)


def guess(times: int, **by: str) -> list[int]:
    return [sign_in(f"guess {turn}", **by).status_code for turn in range(times)]


def guess_under_many_names() -> list[int]:
    return [sign_in("guess", username=f"name {turn}").status_code for turn in range(26)]


def let_pass(minutes: int) -> None:
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=minutes))


def test_fifth_wrong_password_locks_out_the_right_one() -> None:
    assert guess(6) == [200, 200, 200, 200, 429, 429]

    locked = sign_in(PASSWORD)

    detail = "Too many failed logins from your IP address. Try again in 15 minutes."
    assert_explained(locked, "too-many-requests", detail)
    assert locked["Retry-After"] == "900"
    assert "sessionid" not in locked.cookies


@pytest.mark.parametrize(
    ("guesser", "user", "status"),
    [
        ({}, {}, 429),
        ({"address": "203.0.113.66"}, {}, 302),
        ({"username": "somebody"}, {}, 302),
        ({"User-Agent": "another", "X-Forwarded-For": "203.0.113.1"}, {}, 429),
        ({"address": "2001:db8::1"}, {"address": "2001:db8::2"}, 429),
        ({"address": "2001:db8::1"}, {"address": "2001:db8:0:1::1"}, 302),
    ],
)
def test_lockout_affects_the_account_and_the_network_that_guesses(
    guesser: dict[str, str], user: dict[str, str], status: int
) -> None:
    guess(6, **guesser)

    assert sign_in(PASSWORD, **user).status_code == status


def test_ip_address_that_tries_many_names_is_locked_out_for_15_minutes() -> None:
    assert guess_under_many_names() == [200] * 24 + [429] * 2
    assert sign_in(PASSWORD).status_code == 429
    assert sign_in(PASSWORD, address="192.0.2.2").status_code == 302

    let_pass(16)
    assert sign_in(PASSWORD).status_code == 302


def test_users_behind_one_ip_address_can_sign_in() -> None:
    for turn in range(6):
        guess(4, username=f"colleague {turn}")

    assert [sign_in(PASSWORD).status_code for _ in range(10)] == [302] * 10


def test_login_deletes_expired_sessions() -> None:
    for hours in (-1, 1):
        Session.objects.create(session_key=f"{hours}", expire_date=timezone.now() + timedelta(hours=hours))

    response = sign_in(PASSWORD)

    assert response["Location"] == "/accounts/profile/"
    cookie = response.cookies["sessionid"]
    assert set(Session.objects.values_list("session_key", flat=True)) == {"1", cookie.value}
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Strict", 12 * 3600)


def test_right_password_resets_the_failed_attempts() -> None:
    assert guess(4) == [200] * 4
    assert sign_in(PASSWORD).status_code == 302
    assert guess(4) == [200] * 4


def test_attempts_during_a_lockout_do_not_extend_it() -> None:
    guess(10)
    let_pass(14)
    assert sign_in(PASSWORD).status_code == 429

    let_pass(2)
    assert sign_in(PASSWORD).status_code == 302


@pytest.mark.parametrize(
    "username",
    ["", "\x00", "root\x00", "x" * 300, "x" * 100_000, "\u202eroot", "'; DROP TABLE auth_user; --", "{{ 7 }}"],
)
def test_hostile_usernames_are_rejected(username: str) -> None:
    assert set(guess(6, username=username)) <= {200, 429}
    assert sign_in(PASSWORD).status_code == 302


def test_passwords_and_successful_logins_are_not_stored() -> None:
    sign_in("a secret of another service")
    (attempt,) = AccessAttempt.objects.values()
    assert "secret" not in str(attempt)
    assert attempt["ip_address"] == "192.0.2.1"

    sign_in(PASSWORD)
    assert not AccessAttempt.objects.exists()
    assert not AccessLog.objects.exists()


def test_admin_lists_only_the_log_and_the_accounts() -> None:
    assert {model.__name__ for model in admin.site._registry} == {"Submission", "User", "Group"}
    response = Client().get("/admin")
    assert (response.status_code, response["Location"]) == (302, "/admin/")


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://testserver"}], ids=str)
def test_form_with_an_old_csrf_token_explains_the_error(headers: dict[str, str]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get(LOGIN)
    old = client.cookies["csrftoken"].value
    # A sign-in in another tab changes the cookie.
    client.post(LOGIN, {"username": "root", "password": PASSWORD, "csrfmiddlewaretoken": old})

    response = client.post("/admin/logout/", {"csrfmiddlewaretoken": old}, headers=headers)

    assert response.status_code == 403
    assert "<p>This form was rejected, and nothing was changed: an account signed in or out in" in response.text
    assert "its operator must set HTTPS=1.</p>" in response.text


def test_other_greenlets_run_while_one_hashes_and_a_second_hash_is_rejected() -> None:
    command = [sys.executable, "-c", IN_GEVENT]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "fizzbuzz_site.settings"}

    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run.stderr == ""
    assert json.loads(run.stdout) == {
        "attempts": [["pbkdf2_sha256", str(PBKDF2PasswordHasher.iterations)], "busy", "busy"],
        "others had turns": True,
        "main thread kept its priority": True,
    }


@pytest.mark.slow
@pytest.mark.usefixtures("slow_hashes")
def test_existing_hashes_stay_valid() -> None:
    old = PBKDF2PasswordHasher().encode(PASSWORD, "salt")

    assert check_password(PASSWORD, old)
    assert not check_password("wrong horse", old)


@pytest.mark.slow
@pytest.mark.usefixtures("slow_hashes")
def test_hashing_takes_at_most_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[tuple[float, float]] = []
    encode = PBKDF2PasswordHasher.encode

    def recorded(*arguments: Any) -> str:
        begun = time.monotonic()
        encoded = encode(*arguments)
        hashes.append((begun, time.monotonic()))
        return encoded

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", recorded)

    for _ in range(3):
        make_password(PASSWORD)

    assert len(hashes) == 3
    for (begun, ended), (next_begun, _) in itertools.pairwise(hashes):
        assert next_begun - ended >= 2 * (ended - begun)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("all_slots_taken")
def test_waiting_hash_holds_no_connection() -> None:
    connection.ensure_connection()

    with pytest.raises(Busy):
        make_password(PASSWORD)

    assert connection.connection is None


@pytest.mark.usefixtures("slow_hashes")
@pytest.mark.parametrize(
    ("path", "form"),
    [
        (LOGIN, {"username": "root", "password": PASSWORD}),
        (LOGIN, {"username": "nobody", "password": PASSWORD}),
        ("/admin/password_change/", {"old_password": PASSWORD, "new_password1": "a", "new_password2": "a"}),
    ],
)
def test_login_or_change_beyond_the_limit_returns_429(
    client: Client, root: User, path: str, form: dict[str, str], request: pytest.FixtureRequest
) -> None:
    root.set_password(PASSWORD)
    root.save()
    if path != LOGIN:
        client.force_login(root)
    request.getfixturevalue("all_slots_taken")

    response = client.post(path, form)

    detail = "Too many passwords are being checked at the moment. Try again in 5 s."
    assert_explained(response, "too-many-requests", detail)
    assert response["Retry-After"] == "5"
