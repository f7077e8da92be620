"""The real thing: `manage.py serve` as a process, with gunicorn and a PostgreSQL of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from embedded.server import DATABASE, USER

ROOT = Path(__file__).resolve().parent.parent
# Environments for services whose deadlines tests wait for.
SHORT_DEADLINES = {"DJANGO_SETTINGS_MODULE": "tests.short_deadlines", "GUNICORN_CMD_ARGS": "--keep-alive=3"}
SHORT_SHUTDOWN = {"GUNICORN_CMD_ARGS": "--graceful-timeout=1"}  # a browser keeps its connections
SECONDS = 60  # until a wait for a process gives up; none should take so long


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """One `manage.py serve`, at a port of its own unless one is given."""

    code = ROOT
    stderr = subprocess.PIPE  # where its process writes

    def __init__(self, *options: str, **environment: str) -> None:
        self.process = start(["serve", *options], {"PORT": "0", **environment}, code=self.code, stderr=self.stderr)
        assert self.process.stdout
        found = re.search(r"http://\S+", self.process.stdout.readline())
        if not found:
            raise AssertionError(self.process.communicate()[1])
        self.address = found[0]

    def request(self, path: str, data: Any = None, **headers: str) -> Answer:
        """A GET, or a POST of `data` as JSON; on a connection of its own."""
        body = None if data is None else json.dumps(data).encode()
        headers = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.address + path, body, headers)
        try:
            response = urllib.request.urlopen(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return Answer(response.status, dict(response.headers), response.read().decode())

    def stop(self, signum: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code, and what it said on standard error beside the lines of requests."""
        code, lines = self.stop_and_tell(signum)
        return code, "".join(line for line in lines if '"event": "request"' not in line)

    def stop_and_tell(self, signum: int = signal.SIGTERM) -> tuple[int, list[str]]:
        """Its exit code, and all that it said on standard error."""
        self.process.send_signal(signum)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors.splitlines(keepends=True)


@contextmanager
def serving(**environment: str) -> Iterator[Service]:
    service = Service(**environment)
    try:
        yield service
    finally:
        service.stop()


def manage(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`manage.py` with these arguments, by the settings of production and this environment alone."""
    return start(arguments, environment)


def manage_in(code: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Run `manage.py` of the checkout in the folder `code`."""
    return start(arguments, environment, code=code)


def start(
    arguments: Sequence[str], environment: dict[str, str], *, code: Path = ROOT, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    inherited = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("COVERAGE")
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=code,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        pipesize=1024 * 1024,  # its log, which some tests read only at the end
        text=True,
        start_new_session=True,
    )


def url_of(host: str) -> str:
    """The DATABASE_URL of an embedded server, for a service that is to take it for another's."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(host)}"


def collect_static(code: Path = ROOT) -> None:
    """Must run before a service starts; for those of this checkout, tests/template.py sees to it.

    Skipped where nothing changed, since another service may be reading the files.
    """
    sources = [*(code / "static").iterdir(), Path(sysconfig.get_path("purelib"))]  # pip touches the latter
    manifest = code / "staticfiles/staticfiles.json"
    if manifest.exists() and manifest.stat().st_mtime > max(each.stat().st_mtime for each in sources):
        return
    with tempfile.TemporaryDirectory() as data_dir:
        assert manage_in(code, "collectstatic", "--noinput", DATA_DIR=data_dir).communicate()[1] == ""


def processes(data_dir: Path) -> list[int]:
    """The ids of all live processes that name this folder: gunicorn's and PostgreSQL's."""
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and _names(each, data_dir)]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _names(process: Path, data_dir: Path) -> bool:
    if process.name == str(os.getpid()):
        return False
    try:
        known = b"".join((process / name).read_bytes() for name in ("cmdline", "environ"))
        cwd = str((process / "cwd").readlink())
    except OSError:  # another user's, a zombie, or gone meanwhile
        return False
    return str(data_dir).encode() in known or str(data_dir) in cwd


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it holds before long."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
