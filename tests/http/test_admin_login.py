"""Sign-in to the admin: lockouts by account and IP address, sessions, CSRF."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import F
from django.test import Client
from django.utils import timezone

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _root() -> None:
    User.objects.create_superuser("root", password=PASSWORD)


def sign_in(password: str, username: str = "root", address: str = "192.0.2.1", **headers: str) -> Any:
    """Sign in with a new browser session."""
    return Client().post(
        LOGIN, {"username": username, "password": password, "next": "/admin/"}, headers=headers, REMOTE_ADDR=address
    )


def guess(times: int, **by: str) -> list[int]:
    return [sign_in(f"guess {turn}", **by).status_code for turn in range(times)]


def test_fifth_wrong_password_locks_out_the_right_one() -> None:
    assert guess(6) == [200, 200, 200, 200, 429, 429]

    locked = sign_in(PASSWORD)

    assert locked.status_code == 429
    assert locked["Retry-After"] == "900"
    assert '<h1 class="answer">429</h1>' in locked.text
    assert "Too many failed logins from your IP address. Try again in 15 minutes." in locked.text
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


def test_ip_address_that_tries_many_names_is_locked_out() -> None:
    statuses = [sign_in("guess", username=f"name {turn}").status_code for turn in range(26)]

    assert statuses == [200] * 24 + [429] * 2
    assert sign_in(PASSWORD).status_code == 429
    assert sign_in(PASSWORD, address="192.0.2.2").status_code == 302


def test_users_behind_one_ip_address_can_sign_in() -> None:
    for turn in range(6):
        guess(4, username=f"colleague {turn}")

    assert [sign_in(PASSWORD).status_code for _ in range(10)] == [302] * 10


def test_lockout_of_an_ip_address_expires() -> None:
    for turn in range(26):
        sign_in("guess", username=f"name {turn}")
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=16))

    assert sign_in(PASSWORD).status_code == 302


def test_login_deletes_expired_sessions() -> None:
    for hours in (-1, 1):
        Session.objects.create(session_key=f"{hours}", expire_date=timezone.now() + timedelta(hours=hours))

    key = sign_in(PASSWORD).cookies["sessionid"].value

    assert set(Session.objects.values_list("session_key", flat=True)) == {"1", key}


def test_right_password_resets_the_failed_attempts() -> None:
    assert guess(4) == [200] * 4
    assert sign_in(PASSWORD).status_code == 302
    assert guess(4) == [200] * 4


def test_attempts_during_a_lockout_do_not_extend_it() -> None:
    guess(10)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=14))
    assert sign_in(PASSWORD).status_code == 429

    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=2))

    assert sign_in(PASSWORD).status_code == 302


def test_trusted_proxy_identifies_clients(settings: Any) -> None:
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]

    def through_proxy(password: str, client: str) -> int:
        return int(sign_in(password, address="10.0.0.1", **{"X-Forwarded-For": client}).status_code)

    for _ in range(6):
        through_proxy("guess", "203.0.113.66")

    assert through_proxy(PASSWORD, "203.0.113.66") == 429
    assert through_proxy(PASSWORD, "203.0.113.7") == 302


@pytest.mark.parametrize(
    "username",
    ["", "\x00", "root\x00", "x" * 300, "x" * 100_000, "\u202eroot", "'; DROP TABLE auth_user; --", "{{ 7 }}"],
)
def test_hostile_usernames_are_rejected(username: str) -> None:
    assert set(guess(6, username=username)) <= {200, 429}
    assert sign_in(PASSWORD).status_code == 302


def test_passwords_are_not_stored() -> None:
    sign_in("a secret of another service")

    (attempt,) = AccessAttempt.objects.values()
    assert "secret" not in str(attempt)
    assert attempt["ip_address"] == "192.0.2.1"


def test_session_cookie_is_strict_and_expires() -> None:
    cookie = sign_in(PASSWORD).cookies["sessionid"]

    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Strict", 12 * 3600)


def test_signing_in_stores_only_the_session() -> None:
    sign_in(PASSWORD)

    assert not AccessAttempt.objects.exists()
    assert not AccessLog.objects.exists()


def test_admin_lists_only_the_log_and_the_accounts() -> None:
    assert {model.__name__ for model in admin.site._registry} == {"Submission", "User", "Group"}


def test_admin_redirects_without_a_trailing_slash() -> None:
    response = Client().get("/admin")

    assert (response.status_code, response["Location"]) == (302, "/admin/")


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        (
            {},
            (
                "This page is out of date, because an account signed in or out in another tab, or the browser sent no "
                "cookie. Nothing was changed. Enable cookies, reload the page and send the form again."
            ),
        ),
        (
            {"Origin": "https://testserver"},
            (
                "CSRF check failed: the Origin or Referer header does not match this site. Allow the browser to send "
                "these headers. If the site is served over HTTPS, its operator must set HTTPS=1."
            ),
        ),
    ],
)
def test_form_with_an_old_csrf_token_explains_the_error(headers: dict[str, str], detail: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get(LOGIN)
    old = client.cookies["csrftoken"].value
    # A sign-in in another tab changes the cookie.
    client.post(LOGIN, {"username": "root", "password": PASSWORD, "csrfmiddlewaretoken": old})

    response = client.post("/admin/logout/", {"csrfmiddlewaretoken": old}, headers=headers)

    assert (response.status_code, f"<p>{detail}</p>" in response.text) == (403, True)
