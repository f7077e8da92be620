"""/info returns versions."""

import platform
from datetime import datetime
from typing import Any

import django
import pytest
from django.db import connection
from django.test import Client

from fizzbuzz_site import __version__
from fizzbuzz_site.http.monitoring import WORKER_STARTED_AT

pytestmark = pytest.mark.django_db


def test_info_returns_versions_without_a_statement(
    client: Client, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.REVISION = "0123abc"
    major, minor = divmod(connection.cursor().connection.info.server_version, 10_000)

    with django_assert_num_queries(0):
        response = client.get("/info")

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert body == {
        "name": "fizzbuzz",
        "version": __version__,
        "revision": "0123abc",
        "python": platform.python_version(),
        "django": django.get_version(),
        "database": body["database"],
        "started_at": WORKER_STARTED_AT.isoformat(),
    }
    assert body["database"].startswith(f"PostgreSQL {major}.{minor}")
    assert datetime.fromisoformat(body["started_at"]).tzinfo
