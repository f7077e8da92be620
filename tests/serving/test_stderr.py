"""Standard error never blocks: a stalled reader costs whole log lines, which are counted."""

import gc
import os
import pty
import re
import socket
import time
import tty
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Thread

import pytest

from fizzbuzz_site.serving.log import NonBlockingStderr
from tests.service import TIMEOUT_SECONDS

# The socket of the process' own stderr is never closed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def unix_socket(buffer: int) -> tuple[int, int]:
    reader, writer = socket.socketpair()
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return reader.detach(), writer.detach()


SMALL = partial(unix_socket, 1)  # the system's minimum, which accepts only a part of a long line
LARGE = partial(unix_socket, 200_000)


def terminal() -> tuple[int, int]:
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Return the reader's and the writer's file descriptor of a standard error."""
    ends = request.param()
    yield ends
    for fd in ends:
        os.close(fd)
    gc.collect()  # unclosed sockets, whose warning is expected here, not in a test of another module


def read_all(fd: int) -> str:
    """Read without blocking."""
    os.set_blocking(fd, False)
    data = b""
    with suppress(BlockingIOError):
        while more := os.read(fd, 1024 * 1024):
            data += more
    return data.decode()


@pytest.mark.parametrize("ends", [os.pipe, SMALL, terminal], indirect=True)
def test_stalled_reader_causes_whole_lines_to_be_dropped(
    ends: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = ends
    stderr = NonBlockingStderr(writer)
    written = [f"{number} {'x' * 4000}\n" for number in range(5000)]
    thread = Thread(target=lambda: [*map(stderr.write, written)], daemon=True)

    thread.start()
    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()
    output = read_all(reader)
    stderr.write("after\n")
    output += read_all(reader)

    *whole, last = output.splitlines(keepends=True)
    assert [line for line in written if line in whole] == whole
    assert last == "after\n"
    # Several times, if the buffer drains in between.
    dropped = re.findall(r"stderr was blocked: (\d+) log lines dropped\.", caplog.text)
    assert len(dropped) == len(caplog.records) >= 1
    assert sum(map(int, dropped)) == len(written) - len(whole)
    assert os.get_blocking(writer)  # for others that share it


@pytest.mark.parametrize("ends", [os.pipe, LARGE], indirect=True)
def test_lines_of_concurrent_writers_are_not_mixed(ends: tuple[int, int]) -> None:
    reader, writer = ends
    lines = {letter: [letter * (number * 7919 % 4094 + 1) for number in range(300)] for letter in "abcd"}

    def write(letter: str) -> None:
        stderr = NonBlockingStderr(writer)  # as each process has its own
        for line in lines[letter]:
            stderr.write(line + "\n")
            while stderr._dropped:  # retry until it is written
                stderr._dropped = 0
                stderr.write(line + "\n")

    output = ""
    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, letter) for letter in lines]
        while not all(each.done() for each in writers):
            output += read_all(reader)  # at intervals, so that the writers find the buffer both full and empty
            time.sleep(0.01)
    output += read_all(reader)

    assert Counter(output.splitlines()) == Counter(line for written in lines.values() for line in written)
