"""Hooks of gunicorn's configuration, with its own parser and a real connection."""

from __future__ import annotations

import socket

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser

from fizzbuzz_site.serving import gunicorn_config
from fizzbuzz_site.serving.worker import Connection


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="only Linux has TCP_CORK")
@pytest.mark.parametrize(("expect", "corked"), [(b"", 1), (b"Expect: 100-continue\r\n", 0)])
def test_100_continue_is_sent_without_delay(expect: bytes, corked: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, address = listener.accept()
        with Connection(server.family, server.type, server.proto, server.detach()) as connection:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + expect + b"\r\n{}")
            request = next(get_parser(Config(), connection, address))
            gunicorn_config.pre_request(None, request)

            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == corked
