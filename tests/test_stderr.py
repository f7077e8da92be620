from __future__ import annotations

import gc
import os
import pty
import re
import socket
import subprocess
import sys
import time
import tty
from collections import Counter
from collections.abc import Iterator
from threading import Thread

import pytest

from core.stderr import NonBlockingStderr
from tests.service import ROOT, SECONDS

# The one of the process is open as long as it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def pipe() -> tuple[int, int]:
    return os.pipe()


def unix_socket() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def small_unix_socket() -> tuple[int, int]:
    """A socket that takes a part of a long line."""
    reader, writer = socket.socketpair()
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # as small as the system allows
    return reader.detach(), writer.detach()


def tcp_socket() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        writer = socket.create_connection(server.getsockname())
        reader, _ = server.accept()
    return reader.detach(), writer.detach()


def terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Close what is left here, where its warning is expected, and not in a test of another module."""
    yield
    gc.collect()


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """File descriptors of standard error: the reader's end, and the writer's."""
    ends = request.param()
    yield ends
    for fd in ends:
        os.close(fd)


def read_all(fd: int) -> str:
    """Return what can be read without waiting."""
    os.set_blocking(fd, False)
    data = b""
    try:
        while more := os.read(fd, 1024 * 1024):
            data += more
    except BlockingIOError:
        pass
    return data.decode()


@pytest.mark.parametrize("ends", [pipe, unix_socket, small_unix_socket, tcp_socket, terminal], indirect=True)
def test_stalled_reader_costs_whole_lines(ends: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = ends
    stderr = NonBlockingStderr(writer)
    written = [f"{number} {'x' * 4000}\n" for number in range(5000)]
    thread = Thread(target=lambda: [*map(stderr.write, written)], daemon=True)

    thread.start()
    thread.join(SECONDS)
    blocked = thread.is_alive()
    told = read_all(reader)
    stderr.write("after\n")
    told += read_all(reader)

    *whole, last = told.splitlines(keepends=True)
    assert not blocked
    assert [line for line in written if line in whole] == whole
    assert last == "after\n"
    dropped = re.findall(r"stderr was blocked: (\d+) log lines dropped\.", caplog.text)  # more often, if it drains
    assert len(dropped) == len(caplog.records) >= 1
    assert sum(map(int, dropped)) == len(written) - len(whole)


@pytest.mark.parametrize("ends", [pipe, unix_socket], indirect=True)
def test_file_description_of_others_stays_blocking(ends: tuple[int, int]) -> None:
    NonBlockingStderr(ends[1]).write("line\n")

    assert os.get_blocking(ends[1])


WRITE = """
import logging, sys
from core.stderr import NonBlockingStderr
logging.disable()
stderr = NonBlockingStderr()
for number in range(300):
    stderr._dropped = 1
    while stderr._dropped:  # until it is taken
        stderr._dropped = 0
        stderr.write(sys.argv[1] * (number * 7919 % 4094 + 1) + "\\n")
"""


@pytest.mark.parametrize("ends", [pipe, unix_socket], indirect=True)
def test_processes_do_not_tear_each_others_lines(ends: tuple[int, int]) -> None:
    reader, writer = ends
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, letter], cwd=ROOT, stderr=writer) for letter in "abcd"]

    told = ""
    while any(each.poll() is None for each in writers):
        told += read_all(reader)  # now and then: each writer finds the buffer full, and drained
        time.sleep(0.01)
    told += read_all(reader)

    assert Counter(told.splitlines()) == Counter(
        letter * (number * 7919 % 4094 + 1) for letter in "abcd" for number in range(300)
    )
