"""Logins to the admin: lockouts by account and IP address, sessions, CSRF, and hashing that leaves time to others."""

import os
import time
from datetime import timedelta
from typing import Any

import gevent
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

from fizzbuzz.bulkhead import Busy
from fizzbuzz_site import settings as of_production
from fizzbuzz_site.http import logins
from tests.problems import assert_explained

LOGIN = "/admin/login/"
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def root(db: None) -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def hashes_of_production(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash as in production, but faster, and reject a second hash at once."""
    settings.PASSWORD_HASHERS = of_production.PASSWORD_HASHERS
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 20_000)
    monkeypatch.setattr(logins.PasswordHasher, "_next_start", 0.0)
    monkeypatch.setattr(logins.hashing, "_wait_seconds", 0)


def sign_in(password: str, username: str = "root", address: str = "192.0.2.1", **headers: str) -> Any:
    """Sign in with a new browser session."""
    form = {"username": username, "password": password, "next": "//evil.example"}
    return Client().post(LOGIN, form, headers=headers, REMOTE_ADDR=address)


def guess(times: int, **by: str) -> list[int]:
    return [sign_in(f"guess {turn}", **by).status_code for turn in range(times)]


def let_pass(minutes: int) -> None:
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=minutes))


def test_five_wrong_passwords_in_a_row_lock_out_the_right_one_for_15_minutes() -> None:
    assert guess(4) == [200] * 4
    assert sign_in(PASSWORD).status_code == 302
    assert guess(7) == [200] * 4 + [429] * 3

    let_pass(14)
    locked = sign_in(PASSWORD)
    let_pass(2)

    detail = "Too many failed logins from your IP address. Try again in 15 minutes."
    assert_explained(locked, "too-many-requests", detail)
    assert (locked["Retry-After"], "sessionid" in locked.cookies) == ("900", False)
    assert sign_in(PASSWORD).status_code == 302


@pytest.mark.parametrize(
    ("guesser", "user", "status"),
    [
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
    guess(5, **guesser)

    assert sign_in(PASSWORD, **user).status_code == status


def test_ip_address_that_tries_many_names_is_locked_out_for_15_minutes() -> None:
    def guess_names(begin: int, end: int) -> list[int]:
        return [sign_in("guess", username=f"name {turn}").status_code for turn in range(begin, end)]

    assert guess_names(0, 24) == [200] * 24
    assert [sign_in(PASSWORD).status_code for _ in range(2)] == [302] * 2  # so may others behind this IP address
    assert guess_names(24, 26) == [429] * 2
    assert (sign_in(PASSWORD).status_code, sign_in(PASSWORD, address="192.0.2.2").status_code) == (429, 302)

    let_pass(16)
    assert sign_in(PASSWORD).status_code == 302


def test_login_deletes_expired_sessions() -> None:
    for hours in (-1, 1):
        Session.objects.create(session_key=f"{hours}", expire_date=timezone.now() + timedelta(hours=hours))

    response = sign_in(PASSWORD)

    assert response["Location"] == "/accounts/profile/"
    cookie = response.cookies["sessionid"]
    assert set(Session.objects.values_list("session_key", flat=True)) == {"1", cookie.value}
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Strict", 12 * 3600)


def test_hostile_usernames_are_rejected() -> None:
    for username in ("", "\x00", "root\x00", "x" * 300):
        assert guess(1, username=username) == [200]


def test_passwords_and_successful_logins_are_not_stored() -> None:
    sign_in("a secret of another service")
    (attempt,) = AccessAttempt.objects.values()
    assert "secret" not in str(attempt)
    assert attempt["ip_address"] == "192.0.2.1"

    sign_in(PASSWORD)
    assert not AccessAttempt.objects.exists()
    assert not AccessLog.objects.exists()


def test_admin_lists_only_the_log_and_the_accounts(client: Client) -> None:
    assert {model.__name__ for model in admin.site._registry} == {"Submission", "User", "Group"}
    assert client.get("/admin")["Location"] == "/admin/"


def test_form_with_an_old_csrf_token_explains_the_error() -> None:
    client = Client(enforce_csrf_checks=True)
    client.get(LOGIN)
    old = client.cookies["csrftoken"].value
    # A sign-in in another tab changes the cookie.
    client.post(LOGIN, {"username": "root", "password": PASSWORD, "csrfmiddlewaretoken": old})

    response = client.post("/admin/logout/", {"csrfmiddlewaretoken": old})

    assert response.status_code == 403
    assert "<p>This form was rejected, and nothing was changed: an account signed in or out in" in response.text
    assert "its operator must set HTTPS=1.</p>" in response.text


@pytest.mark.usefixtures("hashes_of_production")
def test_other_greenlets_run_while_one_hashes_and_a_second_hash_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 300_000)
    niceness, turns = os.getpriority(os.PRIO_PROCESS, 0), 0

    hashed, *rejected = attempts = [gevent.spawn(make_password, PASSWORD) for _ in range(3)]
    while not all(each.dead for each in attempts):
        gevent.sleep(0.001)
        turns += 1

    assert hashed.value.startswith("pbkdf2_sha256$300000$")
    assert [type(each.exception) for each in rejected] == [Busy, Busy]
    assert turns > 5
    assert os.getpriority(os.PRIO_PROCESS, 0) == niceness  # only the hashing thread's is lower


@pytest.mark.usefixtures("hashes_of_production")
def test_hashes_of_other_releases_stay_valid() -> None:
    old = PBKDF2PasswordHasher().encode(PASSWORD, "salt", 10_000)

    assert check_password(PASSWORD, old)
    assert not check_password("wrong horse", old)


@pytest.mark.usefixtures("hashes_of_production")
def test_hashing_takes_at_most_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", lambda *arguments: time.sleep(0.05))
    begun = time.monotonic()

    make_password(PASSWORD)
    make_password(PASSWORD)

    assert time.monotonic() - begun >= 4 * 0.05  # a hash, twice its time, and a hash


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hashes_of_production")
def test_waiting_hash_holds_no_connection() -> None:
    connection.ensure_connection()

    with logins.hashing.slot(), pytest.raises(Busy):
        make_password(PASSWORD)

    assert connection.connection is None


@pytest.mark.usefixtures("hashes_of_production")
def test_logins_and_changes_beyond_the_limit_return_429(client: Client, root: User) -> None:
    root.set_password(PASSWORD)
    root.save()
    client.force_login(root)
    change = {"old_password": PASSWORD, "new_password1": "a", "new_password2": "a"}

    with logins.hashing.slot():
        changed = client.post("/admin/password_change/", change)
        rejected = [sign_in(PASSWORD), sign_in(PASSWORD, username="nobody"), changed]

    for response in rejected:
        detail = "Too many passwords are being checked at the moment. Try again in 5 s."
        assert_explained(response, "too-many-requests", detail)
        assert response["Retry-After"] == "5"
