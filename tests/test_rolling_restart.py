"""New code under load: two instances behind nginx, one after the other; and the reload of one alone."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from embedded.server import Server
from tests.clients import Client, Ledger
from tests.service import Service, children, eventually, serving, url_of

CLIENTS = 4
BETWEEN = 100  # acknowledged submissions before, between and after the restarts
RESTARTS = 2

# What can't be sent to one instance goes to the other. nginx sends no POST twice, and mustn't: that is for the client.
NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream instances {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://instances;
            proxy_set_header Host $host;
            proxy_next_upstream error timeout;
            proxy_connect_timeout 2s;
        }}
    }}
}}
"""


@contextmanager
def under_load(database: str, address: str) -> Iterator[Ledger]:
    """Clients that send with keys; at the end nothing is lost, nothing counted twice, and no request has failed."""
    ledger = Ledger()
    clients = [Client(ledger, lambda: address, f"restart {index}", without_key=0) for index in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield ledger
    finally:
        ledger.closed.set()
        for client in clients:
            client.join(timeout=60)
        print(f"{ledger.acknowledged} submissions, {ledger.again} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures
    assert not any(client.is_alive() for client in clients)
    with psycopg.connect(database) as connection:
        assert ledger.compare(connection) == []


def some_more(ledger: Ledger) -> Callable[[], bool]:
    enough = ledger.acknowledged + BETWEEN
    return lambda: ledger.acknowledged >= enough


def answered(ledger: Ledger) -> set[str]:
    """What the clients met, other than a connection that was lost before any byte of an answer."""
    return {*ledger.outcomes} - {"lost", "page lost"}


@pytest.fixture
def database(data_dir: Path) -> Iterator[str]:
    server = Server(data_dir)
    yield url_of(server.join())
    server.leave()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs a proxy: apt-get install nginx-light")
def test_rolling_restart_behind_a_proxy_fails_no_request(data_dir: Path, database: str) -> None:
    environment = {"DATABASE_URL": database, "SECRET_KEY": "of a test"}

    def start(port: int) -> Service:
        return Service("--migrate", PORT=str(port), **environment)

    *ports, port = (_free_port() for _ in range(3))
    instances = [start(port) for port in ports]
    with _ended(instances), _proxy(port) as proxy:
        proxy.lead_to(*ports)
        with under_load(database, f"http://127.0.0.1:{port}") as ledger:
            for _ in range(RESTARTS):
                for index, instance in enumerate(instances):
                    assert eventually(some_more(ledger))
                    # A socket that is closed resets what is in its queue, so nothing may be led to it any more.
                    proxy.lead_to(ports[1 - index])
                    assert instance.stop() == (0, "")
                    instances[index] = start(ports[index])
                    proxy.lead_to(*ports)
            assert eventually(some_more(ledger))

    assert answered(ledger) == {"201", "303", "page 200"}


def test_reload_fails_no_request(data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir)) as service:
        url = url_of(Server(data_dir).host)
        with under_load(url, service.address) as ledger:
            for _ in range(RESTARTS):
                assert eventually(some_more(ledger))
                _reload(service.process)
            assert eventually(some_more(ledger))

        assert answered(ledger) == {"201", "303", "page 200"}


@contextmanager
def _ended(instances: list[Service]) -> Iterator[None]:
    try:
        yield
    finally:
        for instance in instances:
            instance.process.terminate()
            instance.process.communicate(timeout=60)


class _Proxy:
    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        folder.chmod(0o711)  # started by root, its workers run as another user
        self._write([port])
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", "nginx.conf", "-e", "error.log"])
        assert eventually(lambda: _listens(port))

    def lead_to(self, *ports: int) -> None:
        """Done when nothing is on its way to others any more."""
        self._write(ports)
        _reload(self.process)

    def _write(self, ports: Iterable[int]) -> None:
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        (self._folder / "nginx.conf").write_text(NGINX.format(folder=self._folder, servers=servers, port=self._port))


def _reload(master: subprocess.Popen[Any]) -> None:
    """Done when all workers are new ones."""
    before = set(children(master.pid))
    master.send_signal(signal.SIGHUP)
    assert eventually(lambda: bool(now := set(children(master.pid))) and not before & now)


@contextmanager
def _proxy(port: int) -> Iterator[_Proxy]:
    with tempfile.TemporaryDirectory() as folder:
        proxy = _Proxy(Path(folder), port)
        try:
            yield proxy
        finally:
            proxy.process.terminate()
            proxy.process.wait()
            print(Path(folder, "error.log").read_text())  # noqa: T201 - shown if the test fails


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
