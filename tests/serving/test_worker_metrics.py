"""Metrics of all workers in shared memory, independent of disks and temporary folders."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from fizzbuzz_site.serving import worker_metrics
from tests.proxy import reload
from tests.service import Service, children, eventually, manage


@pytest.fixture
def small_tmp(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files; if this user may mount one, a full file system."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", folder], check=True)


def submit_to_all(service: Service, workers: int) -> int:
    """Submit 10 until that many workers have responded, and return how often it was submitted."""
    seen: set[str] = set()
    submitted = 0
    while len(seen) < workers:
        assert service.request("/api/fizzbuzz", {"number": 10}).status == 201
        submitted += 1
        seen.add(service.request("/info").json()["started_at"])
    return submitted


def submissions(service: Service) -> set[str]:
    """Return the counts of submissions of 10 that the workers report."""
    pages = [service.request("/metrics").body for _ in range(10)]
    name = re.compile(r'^fizzbuzz_submissions_total\{channel="api",kind="Buzz"\} (\S+)$', re.MULTILINE)
    statements = re.compile(r'^django_db_execute_total\{alias="default",vendor="postgresql"\} (\S+)$', re.MULTILINE)
    counts = {count for page in pages for count in name.findall(page)}
    # Also metrics that are created by the first imports are shared.
    assert {float(count) >= float(max(counts)) for page in pages for count in statements.findall(page)} == {True}
    return counts


def test_counters_survive_their_workers_and_a_full_or_deleted_temporary_folder(
    small_tmp: Path, tmp_path: Path, data_dir: Path
) -> None:
    foreign, tmp = tmp_path / "foreign", tmp_path / "tmp"
    foreign.mkdir()
    tmp.symlink_to(small_tmp)
    environment = {"DATA_DIR": str(data_dir), "PROMETHEUS_MULTIPROC_DIR": str(foreign), "TMPDIR": str(tmp)}
    service = Service(**environment)
    master = service.process
    if small_tmp.is_mount():
        with pytest.raises(OSError, match="No space left"):
            (small_tmp / "filler").write_bytes(bytes(4 << 20))

    submitted = submit_to_all(service, 2)
    killed = set(children(master.pid))
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    assert eventually(lambda: len(set(children(master.pid)) - killed) == 2)
    submitted += submit_to_all(service, 2)
    tmp.unlink()  # as a cleaner of temporary folders does
    reload(master)
    submitted += submit_to_all(service, 2)

    assert submissions(service) == {f"{submitted}.0"}
    top = manage("top_numbers", "--format=csv", **environment).communicate()  # on the running server
    assert top == (f"number,result,count\n10,Buzz,{submitted}\n", "")
    workers = children(master.pid)
    assert service.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    assert eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert {each.name for folder in (foreign, small_tmp) for each in folder.iterdir()} <= {"filler"}


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> list[worker_metrics.Slot]:
    """Return two slots; this process uses the first."""
    slots = [worker_metrics.Slot(), worker_metrics.Slot()]
    monkeypatch.setattr(worker_metrics, "slots", slots)
    monkeypatch.setattr(worker_metrics, "_own", slots[0])
    return slots


def count(numbers: list[int]) -> CollectorRegistry:
    registry = CollectorRegistry()
    labelled = Counter("things_total", 'What "it" is.\n', ["kind"], registry=registry)
    seconds = Histogram("wait_seconds", "A wait.", ["way"], buckets=(1, 2.5, 10), registry=registry)
    for number in numbers:
        labelled.labels(f'"\n{number % 2}\u2028').inc()
        seconds.labels("x").observe(number)
    return registry


def lines(metrics: bytes) -> list[str]:
    return sorted(line for line in metrics.decode().split("\n") if "_created" not in line)


def test_sums_over_workers_and_their_successors_equal_those_of_one_process(
    slots: list[worker_metrics.Slot], monkeypatch: pytest.MonkeyPatch
) -> None:
    count([1, 2])
    slots[0]._positions.clear()  # of a worker that died
    slots[0].use()
    count([4])
    monkeypatch.setattr(worker_metrics, "_own", slots[1])
    count([3, 3, 99])
    summed = generate_latest(worker_metrics.registry())

    monkeypatch.setattr(worker_metrics, "_own", None)
    assert lines(summed) == lines(generate_latest(count([1, 2, 4, 3, 3, 99])))


def test_full_slot_falls_back_to_process_memory(
    slots: list[worker_metrics.Slot], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_metrics, "MAX_SERIES", 1)

    registry = count([1, 2])

    assert registry.get_sample_value("wait_seconds_count", {"way": "x"}) == 2
    assert len(list(slots[0].series())) == 1
    assert "/metrics does not include it" in caplog.text
