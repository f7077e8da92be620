"""gunicorn's configuration; `manage.py serve` starts it and adds the address and the number of workers.

Its master imports this file. Nothing here may import Django or psycopg: the gevent workers have to
patch the standard library before those are imported, or one slow query would hold up all requests.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from logging.config import dictConfig
from pathlib import Path
from typing import Any

import gevent
from prometheus_client.multiprocess import mark_process_dead

from fizzbuzz_site import log_config, slow_clients
from fizzbuzz_site.embedded import Server

worker_class = "gevent"
# Sockets that wait for a worker; requests that a worker has in hand.
backlog = 1024
worker_connections = 500
# Bytes of the request line; headers, and bytes of each. What is longer is answered 414 or 431.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
timeout = 60
graceful_timeout = 20
keepalive = 30
# Its default is one socket in the home directory, shared by all instances.
control_socket_disable = True
loglevel = "warning"
# Nobody's: what a proxy says is for Django to believe, by HTTPS and TRUSTED_PROXIES. gunicorn would believe all on this
# machine; with a header SCRIPT_NAME, who is let through to /x/admin/ alone would stand in /admin/.
forwarded_allow_ips = ""
# Its lines go the way of all others. (Its logconfig_dict would make it gather an access log for nobody.)
errorlog = None
dictConfig(log_config.configuration(loglevel, readable=sys.stderr.isatty()))
logging.captureWarnings(True)  # noqa: FBT003 - its only argument
# The workers' heartbeat: in memory, where a slow disk can't stop it.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None  # noqa: S108 - gunicorn makes a file of its own

# It warns of the body at each HEAD, which Django leaves to the server to drop.
logging.getLogger("gunicorn.http.wsgi").setLevel(logging.ERROR)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_embedded = Server(Path(data_dir)) if (data_dir := os.environ.get("FIZZBUZZ_EMBEDDED")) else None


def on_starting(server: Any) -> None:
    if _embedded:
        _embedded.join()


def when_ready(server: Any) -> None:
    # `serve` blocked them, so that none could end this process before it was able to clean up.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def post_worker_init(worker: Any) -> None:
    if worker.age == 1:
        print(f"FizzBuzz is at {os.environ['FIZZBUZZ_SERVED_AT']} - press Ctrl-C to stop", flush=True)  # noqa: T201 - for who started it


def pre_request(worker: Any, request: Any) -> None:
    slow_clients.bound(request)
    # The head of the answer is held back until its body is there: one system call and one packet instead of two.
    _cork(request, on=True)


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    _cork(request, on=False)
    log_config.request_id.set("")  # what comes now is not of this request any more
    gevent.sleep(0)  # the others' turn: who asks for what needs no database could else be served without an end


def child_exit(server: Any, worker: Any) -> None:
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # it has no annotations


def on_exit(server: Any) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    if _embedded:
        _embedded.leave()


def _cork(request: Any, *, on: bool) -> None:
    if hasattr(socket, "TCP_CORK"):  # Linux has it
        with suppress(OSError):  # the client is gone
            request.unreader.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)
