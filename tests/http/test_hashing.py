"""Password hashing is limited, and does not block a gevent worker's other requests."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz.bulkhead import Bulkhead, Busy
from fizzbuzz_site import settings as of_production
from fizzbuzz_site.http import hashing
from tests.marks import commits

LOGIN = {"username": "root", "password": "correct horse"}
# As in a gunicorn worker: gevent patches before Django is imported.
IN_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, json, os, time
from django.conf import settings
settings.configure(PASSWORD_HASHERS=["fizzbuzz_site.http.hashing.PasswordHasher"])
from django.contrib.auth.hashers import make_password
from fizzbuzz_site.http import hashing
from fizzbuzz.bulkhead import Busy
hashing.hashing._wait_seconds = 0
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
def _as_in_production(settings: Any) -> None:
    settings.PASSWORD_HASHERS = of_production.PASSWORD_HASHERS


@pytest.fixture
def all_slots_taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hashing, "hashing", Bulkhead("passwords are being checked", 1, 0))
    with hashing.hashing.slot():
        yield


def test_other_greenlets_run_while_one_hashes_and_a_second_hash_is_rejected() -> None:
    run = subprocess.run([sys.executable, "-c", IN_GEVENT], capture_output=True, text=True, check=False)

    assert run.stderr == ""
    assert json.loads(run.stdout) == {
        "attempts": [["pbkdf2_sha256", str(PBKDF2PasswordHasher.iterations)], "busy", "busy"],
        "others had turns": True,
        "main thread kept its priority": True,
    }


def test_hash_uses_djangos_iterations_and_existing_hashes_stay_valid() -> None:
    old = PBKDF2PasswordHasher().encode("correct horse", "salt")

    assert check_password("correct horse", old)
    assert not check_password("wrong horse", old)
    assert make_password("correct horse").startswith(f"pbkdf2_sha256${PBKDF2PasswordHasher.iterations}$")


def test_hashing_takes_at_most_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing.PasswordHasher, "_next_start", 0.0)
    hashes: list[tuple[float, float]] = []
    encode = PBKDF2PasswordHasher.encode

    def recorded(*arguments: Any) -> str:
        begun = time.monotonic()
        encoded = encode(*arguments)
        hashes.append((begun, time.monotonic()))
        return encoded

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", recorded)

    for _ in range(3):
        make_password("correct horse")

    assert len(hashes) == 3
    for (begun, ended), (next_begun, _) in itertools.pairwise(hashes):
        assert next_begun - ended >= 2 * (ended - begun)


@commits
@pytest.mark.usefixtures("all_slots_taken")
def test_waiting_hash_holds_no_connection() -> None:
    connection.ensure_connection()

    with pytest.raises(Busy):
        make_password("correct horse")

    assert connection.connection is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/admin/login/", LOGIN),
        ("/admin/login/", LOGIN | {"username": "nobody"}),
        ("/admin/password_change/", {"old_password": LOGIN["password"], "new_password1": "a", "new_password2": "a"}),
    ],
)
def test_login_or_change_beyond_the_limit_returns_429(
    client: Client, path: str, form: dict[str, str], request: pytest.FixtureRequest
) -> None:
    root = User.objects.create_superuser(**LOGIN)
    if path != "/admin/login/":
        client.force_login(root)
    request.getfixturevalue("all_slots_taken")

    response = client.post(path, form)

    assert (response.status_code, response["Retry-After"]) == (429, "5")
    assertInHTML("<p>Too many passwords are being checked at the moment. Try again in 5 s.</p>", response.text)
