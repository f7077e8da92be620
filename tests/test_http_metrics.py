from __future__ import annotations

from typing import Any

import pytest
from django.test import Client


def series(client: Client) -> set[str]:
    return {line.rpartition(" ")[0] for line in client.get("/metrics").text.splitlines() if not line.startswith("#")}


def invent(client: Client, word: str) -> None:
    client.generic(word, "/api/fizzbuzz")
    client.get(f"/{word}")
    client.get(f"/api/{word}")
    client.get("/docs", headers={"host": f"{word}.example"})


@pytest.mark.django_db(transaction=True)
def test_what_clients_invent_makes_no_series(client: Client) -> None:
    invent(client, "INVENTED")
    series(client)
    before = series(client)

    for number in range(1_000):
        invent(client, f"INVENTED{number}")

    assert series(client) == before


@pytest.mark.django_db(transaction=True)
def test_token_opens_the_metrics(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "secret"

    answers = [
        client.get("/metrics", headers={"Authorization": sent} if sent else None)
        for sent in ("Bearer secret", "", "Bearer", "Bearer secre", "Bearer secret2", "secret", "Bearer sécret")
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401, 401, 401, 401]
    assert {answer.headers.get("WWW-Authenticate") for answer in answers[1:]} == {"Bearer"}
    assert answers[1].text == "Send the header Authorization: Bearer, and METRICS_TOKEN.\n"


def test_metrics_are_closed_unless_told_otherwise(client: Client, settings: Any) -> None:
    settings.METRICS_PUBLIC = False

    answer = client.get("/metrics")

    assert answer.status_code == 403
    assert answer.text == "Who runs this service must set METRICS_TOKEN, or METRICS_PUBLIC=1.\n"
