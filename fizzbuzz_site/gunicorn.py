"""gunicorn's configuration; `manage.py serve` starts it and adds the address and the number of workers.

Its master imports this file. Nothing here may import Django or psycopg: the gevent workers have to
patch the standard library before those are imported, or one slow query would hold up all requests.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from logging.config import dictConfig
from pathlib import Path
from typing import Any

import gevent

from core import log_config, worker_metrics
from embedded.server import Server
from fizzbuzz_site import slow_clients

worker_class = "fizzbuzz_site.worker.Worker"
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
# The workers' heartbeat: in memory, where a slow disk can't stop it; in a temporary folder where that can't be written.
worker_tmp_dir = None
with suppress(OSError), tempfile.TemporaryFile(dir="/dev/shm"):
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes a file of its own

# It warns of the body at each HEAD, which Django leaves to the server to drop.
logging.getLogger("gunicorn.http.wsgi").setLevel(logging.ERROR)

LOAD_TIMEOUT_SECONDS = 50  # for the check before a reload
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_embedded = Server(Path(data_dir)) if (data_dir := os.environ.get("FIZZBUZZ_EMBEDDED")) else None


def on_starting(server: Any) -> None:
    if _embedded:
        _embedded.acquire()
    # A reload doubles the workers for a moment, and TTIN adds some.
    worker_metrics.allocate(2 * server.cfg.workers + 8)


def pre_fork(server: Any, worker: Any) -> None:
    worker.metrics_slot = worker_metrics.free_slot({each.metrics_slot for each in server.WORKERS.values()})


def post_fork(server: Any, worker: Any) -> None:
    worker_metrics.use_slot(worker.metrics_slot)


def when_ready(server: Any) -> None:
    signal.signal(signal.SIGHUP, partial(_reload_if_it_loads, server))
    # `serve` blocked them, so that none could end this process before it was able to clean up.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def post_worker_init(worker: Any) -> None:
    if worker.age == 1:
        print(f"FizzBuzz is at {os.environ['FIZZBUZZ_SERVED_AT']} - press Ctrl-C to stop", flush=True)  # noqa: T201 - for who started it


def pre_request(worker: Any, request: Any) -> None:
    slow_clients.bound(request)
    request.unreader.sock.idle = False
    # The head of the answer is held back until its body is there: one system call and one packet instead of two.
    # "100 Continue" must not be held back: the client sends no body before it.
    _cork(request, on=not any(name == "EXPECT" for name, _ in request.headers))


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    _cork(request, on=False)
    log_config.request_id.set("")  # what comes now is not of this request any more
    gevent.sleep(0)  # the others' turn: who asks for what needs no database could else be served without an end


def on_exit(server: Any) -> None:
    if _embedded:
        _embedded.release()


def _reload_if_it_loads(server: Any, signum: int, frame: Any) -> None:
    """Handle SIGHUP in the master: reload, unless the new code or settings can't be loaded.

    gunicorn itself would replace the workers by ones that can't start, and end.
    """
    load = [sys.executable, "-c", "import fizzbuzz_site.wsgi"]
    try:
        subprocess.run(
            load, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LOAD_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or b"").decode(errors="replace") or error
        server.log.error("Reload rejected, the workers go on: the application can't be loaded. %s", reason)  # noqa: TRY400 - the child's traceback is the one that helps
    else:
        server.signal(signum, frame)


def _cork(request: Any, *, on: bool) -> None:
    if hasattr(socket, "TCP_CORK"):  # Linux has it
        with suppress(OSError):  # the client is gone
            request.unreader.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)
