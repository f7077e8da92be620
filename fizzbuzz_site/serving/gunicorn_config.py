"""Configuration of gunicorn. `manage.py serve` starts it, and adds the socket and the number of workers.

gunicorn's master imports this file, so nothing here may import Django or psycopg: the gevent workers must patch the
standard library before those are imported, or one slow query would block all requests.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from logging.config import dictConfig
from pathlib import Path
from typing import Any

import gevent

from fizzbuzz.request_id import request_id
from fizzbuzz_site.embedded.server import Server
from fizzbuzz_site.serving import log, slow_clients, worker_metrics

worker_class = "fizzbuzz_site.serving.worker.Worker"
worker_connections = 500  # per worker
limit_request_line = 4094  # bytes; longer ones get a 414
limit_request_fields = 64  # headers; more get a 431
limit_request_field_size = 8190  # bytes of a header; longer ones get a 431
timeout = 60
graceful_timeout = 20
keepalive = 30
# Its default is one socket in the home directory, shared by all instances.
control_socket_disable = True
loglevel = "warning"
# Trust no forwarded headers in gunicorn; Django handles them (HTTPS, TRUSTED_PROXIES). By default gunicorn trusts local
# proxies, and a SCRIPT_NAME header could bypass a proxy rule on /admin/.
forwarded_allow_ips = ""
# Log through logging, like everything else. (The setting logconfig_dict would also enable gunicorn's access log.)
errorlog = None
dictConfig(log.configuration(loglevel, readable=sys.stderr.isatty()))
logging.captureWarnings(True)  # noqa: FBT003 - its only argument


# The workers' heartbeat files are in memory, where a slow disk can't block them, or in any folder that is writable.
_folders = ("/dev/shm", os.environ.get("FIZZBUZZ_EMBEDDED", ""))  # noqa: S108 - random names
try:
    worker_tmp_dir = next((each for each in _folders if os.access(each, os.W_OK)), None) or tempfile.gettempdir()
except FileNotFoundError as error:
    sys.exit(f"error: {error.strerror}: mount one at /tmp, or set TMPDIR")
# It warns about the body of each response to HEAD, which Django leaves to the server to discard.
logging.getLogger("gunicorn.http.wsgi").setLevel(logging.ERROR)

LOAD_TIMEOUT_SECONDS = 50  # of the check before a reload


def on_starting(server: Any) -> None:
    if data_dir := os.environ.get("FIZZBUZZ_EMBEDDED"):
        Server(Path(data_dir)).acquire()  # released when this process ends
    # A reload doubles the number of workers for a moment, and SIGTTIN adds some.
    worker_metrics.slots.extend(worker_metrics.Slot() for _ in range(2 * server.cfg.workers + 8))


def pre_fork(server: Any, worker: Any) -> None:
    taken = [each.metrics_slot for each in server.WORKERS.values()]
    worker.metrics_slot = next((slot for slot in worker_metrics.slots if slot not in taken), None)


def post_fork(server: Any, worker: Any) -> None:
    if worker.metrics_slot:
        worker.metrics_slot.use()
    else:
        server.log.warning("No slot left for this worker's metrics: /metrics does not include them.")


def when_ready(server: Any) -> None:
    signal.signal(signal.SIGHUP, partial(_reload_if_it_loads, server))
    # `serve` blocked signals until now, so that none could end this process before it can clean up.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def post_worker_init(worker: Any) -> None:
    if worker.age == 1:
        message = f"FizzBuzz is at {os.environ['FIZZBUZZ_SERVED_AT']} - press Ctrl-C to stop\n"
        with suppress(OSError):  # a full disk or a closed pipe; `print` would fail again at the worker's exit
            os.write(1, message.encode())


pre_request = slow_clients.begin_request


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    request_id.set("")  # later log lines do not belong to this request
    # Yield: pipelined requests that never wait for the database would otherwise block the other connections.
    # sleep(0) would look for new data only every 50 turns.
    gevent.sleep(1e-9)
    slow_clients.end_request(request)


def _reload_if_it_loads(server: Any, signum: int, frame: Any) -> None:
    """Handle SIGHUP in the master: reload, but only if the new code and settings can be loaded.

    Otherwise gunicorn would replace the workers by ones that can't start, and then exit. gunicorn has no hook for
    this, so `signal`, its own handler, is called afterwards.
    """
    try:
        subprocess.run(
            [sys.executable, "-c", "import fizzbuzz_site.wsgi"],
            cwd=server.cfg.chdir,  # gunicorn enters it again, and exits if it was deleted
            capture_output=True,
            timeout=LOAD_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or b"").decode(errors="replace") or error
        server.log.error("Reload rejected: the application can't be loaded. The old workers keep running. %s", reason)  # noqa: TRY400 - only the child's traceback helps
    else:
        server.signal(signum, frame)
