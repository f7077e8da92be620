"""Real services for tests: `manage.py serve` as a process, with gunicorn and its own PostgreSQL."""

import json
import os
import re
import signal
import ssl
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

from fizzbuzz_site.embedded.server import DATABASE, USER

ROOT = Path(__file__).resolve().parent.parent
# Environments for tests that wait for deadlines.
SHORT_DEADLINES = {"DJANGO_SETTINGS_MODULE": "tests.short_deadlines", "GUNICORN_CMD_ARGS": "--keep-alive=3"}
SHORT_SHUTDOWN = {"GUNICORN_CMD_ARGS": "--graceful-timeout=1"}  # a browser keeps its connections open
SECRET_KEY = "only for tests, but as long as one of production"
TIMEOUT_SECONDS = 60  # of any wait for a process
TRUSTING = ssl._create_unverified_context()  # noqa: S323 - servers of tests have certificates of their own


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A running `manage.py serve`, at any free port unless one is given."""

    code = ROOT
    stderr = subprocess.PIPE

    def __init__(self, *options: str, **environment: str) -> None:
        self.process = start(["serve", *options], {"PORT": "0", **environment}, code=self.code, stderr=self.stderr)
        assert self.process.stdout
        found = re.search(r"http://\S+", self.process.stdout.readline())
        if not found:
            raise AssertionError(self.process.communicate()[1])
        self.address = found[0]

    def request(self, path: str, data: Any = None, **headers: str) -> Answer:
        """Send a GET, or a POST of `data` as JSON, on a new connection."""
        return send(self.address + path, data, **headers)

    def stop(self, signum: int = signal.SIGTERM) -> tuple[int, str]:
        """Stop it. Return its exit code, and its standard error without the lines of requests, which `log` has, too."""
        self.process.send_signal(signum)
        self.log = self.process.communicate(timeout=TIMEOUT_SECONDS)[1].splitlines(keepends=True)
        return self.process.returncode, "".join(line for line in self.log if '"event": "request"' not in line)


def send(url: str, data: Any = None, **headers: str) -> Answer:
    """Send a GET, or a POST of `data` as JSON, on a new connection. No certificate is verified."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=TRUSTING)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Answer(response.status, dict(response.headers), response.read().decode())


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[Service]:
    service = Service(*options, **environment)
    try:
        yield service
    finally:
        service.stop()


def manage(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `manage.py` with the production settings and only these environment variables."""
    return start(arguments, environment)


def start(
    arguments: Sequence[str], environment: dict[str, str], *, code: Path = ROOT, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start `manage.py` of the checkout in the folder `code`."""
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
    """Return a DATABASE_URL for an embedded server, so that a service uses it as an external one."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(host)}"


def collect_static(code: Path = ROOT) -> None:
    """Run collectstatic, which a service needs before it starts. tests/template.py does so for this checkout.

    Skipped if nothing changed, because another service may be reading the files.
    """
    sources = [*(code / "static").iterdir(), Path(sysconfig.get_path("purelib"))]  # pip touches the latter
    manifest = code / "staticfiles/staticfiles.json"
    if manifest.exists() and manifest.stat().st_mtime > max(each.stat().st_mtime for each in sources):
        return
    with tempfile.TemporaryDirectory() as data_dir:
        assert start(["collectstatic", "--noinput"], {"DATA_DIR": data_dir}, code=code).communicate()[1] == ""


def processes(data_dir: Path) -> list[int]:
    """Return the IDs of gunicorn's and PostgreSQL's processes that use this data folder."""
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
    except OSError:  # another user's, a zombie, or it just ended
        return False
    return str(data_dir).encode() in known or str(data_dir) in cwd


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for the condition. Return False if it is not met within TIMEOUT_SECONDS."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
