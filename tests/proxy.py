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
    """A running nginx in front of the instances at these ports; with `tls`, it has a second port for https."""

    def __init__(self, folder: Path, *instances: int, tls: bool = False) -> None:
        self.port = free_port()
        self.tls_port = free_port() if tls else None
        self.certificate = folder / "certificate.pem"
        folder.chmod(0o711)  # started by root, its workers run as another user
        listen = f"listen 127.0.0.1:{self.port};\n"
        if tls:
            key = _make_certificate(self.certificate)
            listen += f"listen 127.0.0.1:{self.tls_port} ssl http2;\n"
            listen += f"ssl_certificate {self.certificate};\nssl_certificate_key {key};\n"
        shutil.copy(ROOT / "deploy/nginx.conf", folder)
        self.parts = folder / "nginx"
        self.parts.mkdir()
        (self.parts / "listen.conf").write_text(listen)
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
def proxying(*instances: int, tls: bool = False) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="fizzbuzz-nginx-") as folder:
        proxy = Proxy(Path(folder), *instances, tls=tls)
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


def _make_certificate(path: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1; return the path of its key."""
    key = path.with_name("key.pem")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", *subject]
    subprocess.run(["openssl", "req", *options, "-keyout", key, "-out", path], check=True, capture_output=True)
    return key
