"""Expensive requests do not block a real gunicorn's other requests."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service import Service, eventually, manage, serving

# Make a comparison of two times take 20 ms, so that a time range with 1,000 submissions exceeds its timeout.
SLOW_COMPARISON = """
    CREATE FUNCTION public.slow_ge(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        PERFORM pg_sleep(0.02);
        RETURN timestamptz_ge($1, $2);
    END $$;
    CREATE OPERATOR public.>= (FUNCTION = public.slow_ge, LEFTARG = timestamptz, RIGHTARG = timestamptz);
    ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog;
"""


def tail(service: Service) -> float:
    (rows,) = re.findall(r"^fizzbuzz_tail_rows (\S+)$", service.request("/metrics").body, re.MULTILINE)
    return float(rows)


@pytest.fixture
def service(data_dir: Path) -> Iterator[Service]:
    """One worker with a small pool, in whose database time ranges are slow."""
    environment = {"DATA_DIR": str(data_dir), "WEB_CONCURRENCY": "1", "DATABASE_POOL_SIZE": "4"}
    assert manage("postgres", "psql", "-qc", SLOW_COMPARISON, **environment).communicate() == ("", "")
    with serving(**environment) as service:
        yield service


def test_slow_time_ranges_do_not_block_reads_writes_and_folds(service: Service) -> None:
    assert service.request("/api/fizzbuzz/batch", {"numbers": [7] * 10_000}).status == 201
    stop = threading.Event()
    statuses: list[int] = []

    def request_time_ranges() -> None:
        while not stop.is_set():
            statuses.append(service.request("/api/most_common?since=2020-01-01").status)

    with ThreadPoolExecutor(16) as pool:
        for _ in range(16):
            pool.submit(request_time_ranges)
        try:
            assert eventually(lambda: 429 in statuses)
            reads = [
                service.request(path).status
                for path in ("/api/most_common", "/api/fizzbuzz?kind=Fizz", "/numbers/7", "/stats", "/admin/login/")
            ]
            keyed = service.request("/api/fizzbuzz", {"number": 7}, **{"Idempotency-Key": "of-a-test"}).status
            batch = service.request("/api/fizzbuzz/batch", {"numbers": [7] * 1_500}).status
            folded = eventually(lambda: tail(service) < 1_500)
        finally:
            stop.set()

    assert reads == [200] * 5
    assert (keyed, batch) == (201, 201)
    assert folded
    assert set(statuses) == {400, 429}
