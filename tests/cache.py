"""A real Redis for tests."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis, RedisError

from tests.service import eventually

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")

needs_redis = pytest.mark.skipif(PROGRAM is None, reason="needs a Redis: apt-get install redis-server")


class Cache:
    """A redis-server on a Unix socket, without persistence."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis"
        self.url = f"unix://{quote(str(self.socket))}"
        # For tests that must not time out on a busy machine.
        self.patient_url = f"{self.url}?socket_timeout=60"
        self.client = Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        assert PROGRAM
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--daemonize", "no"]
        self.process = subprocess.Popen([PROGRAM, *options], cwd=self.socket.parent, stdout=subprocess.DEVNULL)
        assert eventually(self._answers)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def suspend(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False


@contextmanager
def caching() -> Iterator[Cache]:
    with tempfile.TemporaryDirectory(prefix="fizzbuzz-redis-") as folder:
        cache = Cache(Path(folder))
        try:
            yield cache
        finally:
            cache.client.close()
            cache.kill()
