from __future__ import annotations

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
