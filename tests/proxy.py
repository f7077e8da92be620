"""A real nginx with deploy/nginx.conf, on free ports."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service import ROOT, children, eventually

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs a proxy: apt-get install nginx-light")


class Proxy:
    """A running nginx in front of the instances at these ports, without TLS."""

    def __init__(self, folder: Path, *instances: int) -> None:
        self.port = free_port()
        folder.chmod(0o711)  # started by root, its workers run as another user
        shutil.copy(ROOT / "deploy/nginx.conf", folder)
        self.parts = folder / "nginx"
        self.parts.mkdir()
        (self.parts / "listen.conf").write_text(f"listen 127.0.0.1:{self.port};\n")
        self._write(instances)
        self._log = folder / "log"  # not a pipe, at which nginx would wait for its reader
        with self._log.open("w") as log:
            self.process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf"], stderr=log)
        assert eventually(lambda: listens(self.port))

    def lead_to(self, *instances: int) -> None:
        """Route requests only to these instances; return when no request to others is in progress."""
        self._write(instances)
        reload(self.process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        print(self._log.read_text(), file=sys.stderr)  # noqa: T201 - shown if the test fails

    def _write(self, instances: tuple[int, ...]) -> None:
        servers = (f"server 127.0.0.1:{port} max_fails=0;\n" for port in instances)
        (self.parts / "upstream.conf").write_text("".join(servers))


@contextmanager
def proxying(*instances: int) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="fizzbuzz-nginx-") as folder:
        proxy = Proxy(Path(folder), *instances)
        try:
            yield proxy
        finally:
            proxy.stop()


def reload(master: subprocess.Popen[Any]) -> None:
    """Make nginx or gunicorn replace its workers; return when all old ones have ended."""
    before = set(children(master.pid))
    master.send_signal(signal.SIGHUP)
    assert eventually(lambda: bool(now := set(children(master.pid))) and not before & now)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
