from __future__ import annotations

import pytest
from django.db import connection
from django.test import RequestFactory

from fizzbuzz_site.wsgi import application
from tests.marks import commits


@commits
@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/stats/submissions.csv"])
def test_connection_is_released_before_the_body_is_sent(path: str) -> None:
    """A slow reader must not hold it."""
    connection.ensure_connection()

    response = application(RequestFactory().get(path).environ, lambda *start: bytes)

    assert connection.connection is None
    assert b"".join(response)
