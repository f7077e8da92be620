"""Code that can't be loaded: at the start, after SIGHUP, and in a worker that replaces a dead one."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.service import ROOT, SECRET_KEY, Service, children, eventually, manage_in, processes

BROKEN = "no python\n"


@pytest.fixture
def copy(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the project's code to a folder that services start from."""
    folder = data_dir.parent / "project"
    folder.mkdir()
    for name in ("fizzbuzz", "fizzbuzz_site", "templates", "static", "staticfiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", folder)
    monkeypatch.setattr(Service, "code", folder)
    return folder


def started_at(service: Service) -> set[str]:
    """Return the start times of the workers that respond."""
    return {service.request("/info").json()["started_at"] for _ in range(20)}


@pytest.mark.parametrize(
    ("broken", "text", "message"),
    [
        ("fizzbuzz/pages/views.py", BROKEN, "SyntaxError: invalid syntax\n"),
        ("fizzbuzz/models.py", BROKEN, "SyntaxError: invalid syntax\n"),
        ("templates/stats.html", "{% if %}", "templates/stats.html\n"),
        ("static/new.css", "", "staticfiles/ is missing or outdated: run manage.py collectstatic --noinput\n"),
    ],
)
def test_service_does_not_start_with_broken_code(
    copy: Path, data_dir: Path, broken: str, text: str, message: str
) -> None:
    (copy / broken).write_text(text)

    process = manage_in(copy, "serve", PORT="0", DATA_DIR=str(data_dir))
    out, errors = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, "")
    assert errors.endswith(message)
    assert len(errors.splitlines()) < 40  # one traceback, not one per worker
    assert processes(data_dir) == []


def test_files_of_editors_and_systems_are_ignored(copy: Path) -> None:
    for name in ("static/.DS_Store", "static/base.css~", "templates/.#home.html"):
        (copy / name).write_bytes(b"{% if \xff")

    process = manage_in(copy, "shell", "--no-imports", "--command=import fizzbuzz_site.wsgi", SECRET_KEY=SECRET_KEY)

    assert process.communicate(timeout=60) == ("", "")


def test_reload_of_broken_code_keeps_the_workers(copy: Path, data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    try:
        assert eventually(lambda: len(started_at(service)) == 2)
        before = started_at(service)
        workers = children(service.process.pid)
        views = copy / "fizzbuzz/pages/views.py"
        working = views.read_text()
        views.write_text(BROKEN)

        for _ in range(2):
            service.process.send_signal(signal.SIGHUP)
        # A worker that dies now can't be replaced. The other one must go on.
        os.kill(workers[0], signal.SIGKILL)

        assert eventually(lambda: workers[0] not in children(service.process.pid))
        assert eventually(lambda: started_at(service) < before)
        assert service.request("/").status == 200

        views.write_text(working)
        service.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: len(after := started_at(service)) == 2 and after.isdisjoint(before))
        assert service.request("/").status == 200
    finally:
        code, errors = service.stop()

    assert code == 0
    assert errors.count("Reload rejected") in {1, 2}
