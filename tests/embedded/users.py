"""Processes that use an embedded server, and what a test asks a server."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from tests.service import ROOT, eventually

ACQUIRE_AND_WAIT = """
import sys
from pathlib import Path
from fizzbuzz_site.embedded.server import Server
server = Server(Path(sys.argv[1]))
print(server.acquire(), flush=True)
sys.stdin.read()
"""


def user(data_dir: Path, *prefix: str, **environment: str) -> subprocess.Popen[str]:
    """Start a process that uses the server until its standard input ends. It prints the server's `host`."""
    if prefix and (not shutil.which(prefix[0]) or subprocess.run([*prefix, "true"], check=False).returncode):
        pytest.skip(f"{prefix[0]} is missing, or not allowed for this user")
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", ACQUIRE_AND_WAIT, str(data_dir)],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def host_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout
    return user.stdout.readline().removesuffix("\n")


def connect(host: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host=host, user=USER, dbname=DATABASE, autocommit=True)


def answers(host: str) -> bool:
    try:
        connect(host).close()
    except psycopg.OperationalError:
        return False
    return True


def postmaster(server: Server) -> int:
    return int((server.home.resolve() / "data/postmaster.pid").read_text().split()[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not Path(f"/proc/{pid}/cwd").exists())
