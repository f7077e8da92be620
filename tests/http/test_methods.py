"""Each URL answers the methods that this table lists, and rejects others with 405, Allow and an error that says so."""

import pytest
from django.test import Client

from fizzbuzz.models import Submission
from fizzbuzz_site.serving.gate import FORM, JSON
from tests.problems import assert_explained

pytestmark = pytest.mark.django_db

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GEТ", "X" * 999]
DOWNLOAD = "/admin/fizzbuzz/submission/download/"
ALLOWED = {
    "/": "GET, HEAD, POST",
    "/live": "GET, HEAD",
    "/numbers/15": "GET, HEAD",
    "/stats": "GET, HEAD",
    "/stats/activity.csv": "GET, HEAD",
    "/stats/most-common.jsonl": "GET, HEAD",
    "/stats/submissions.csv": "GET, HEAD",
    "/docs": "GET, HEAD, OPTIONS",
    "/docs/problems": "GET, HEAD, OPTIONS",
    "/info": "GET, HEAD",
    "/health": "GET, HEAD, OPTIONS",
    "/health/live": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD",
    DOWNLOAD: "GET, HEAD",
    "/api/": "GET, HEAD, OPTIONS",
    "/api/schema": "GET, HEAD, OPTIONS",
    "/api/fizzbuzz": "GET, POST, HEAD, OPTIONS",
    "/api/fizzbuzz/1": "GET, HEAD, OPTIONS",
    "/api/fizzbuzz/batch": "POST, OPTIONS",
    "/api/most_common": "GET, HEAD, OPTIONS",
    "/api/numbers/15": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_other_methods_are_rejected(staff_client: Client, path: str) -> None:
    Submission(id=1, number=15).save_base(force_insert=True)
    allowed = ALLOWED[path].split(", ")

    for method in METHODS:
        response = staff_client.generic(method, path, "{}", JSON if path.startswith("/api/") else FORM)

        if method in allowed:
            assert response.status_code in {200, 400, 403, 422}
            continue
        assert (response.status_code, response["Allow"]) == (405, ALLOWED[path])
        # Some have no body, or no error page.
        if method != "HEAD" and not path.startswith(("/health", "/metrics")):
            assert_explained(response, "method-not-allowed", f"Method not allowed; use {ALLOWED[path]}.")
