"""The client's IP address, as trusted proxies report it, and its key of limits."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import RequestFactory

from fizzbuzz_site.http import client_ip

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def request(peer: str, forwarded: str | None = None) -> Any:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.7", None, "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1,203.0.113.9,10.9.9.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown, 10.2.2.2", "10.2.2.2"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "203.0.113.5:61598", "203.0.113.5"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1], [fd00::2]:_p", "2001:db8::1"),
        ("10.0.0.1", "[::ffff:203.0.113.5]:61598", "203.0.113.5"),
        ("10.0.0.1", 'for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("10.0.0.1", 'For="203.0.113.5:61598";proto=https;by=10.0.0.2', "203.0.113.5"),
        ("10.0.0.1", '"203.0.113.5', "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5:1:2", "10.0.0.1"),
        ("10.0.0.1", "[203.0.113.5", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "2001:DB8:0:0::1", "2001:db8::1"),
    ],
)
def test_client_ip_is_the_last_untrusted_address(settings: Any, peer: str, forwarded: str | None, client: str) -> None:
    settings.TRUSTED_PROXIES = PROXIES

    assert client_ip.client_ip(request(peer, forwarded)) == client


def test_other_headers_are_ignored(settings: Any) -> None:
    assert client_ip.client_ip(request("10.0.0.1", "203.0.113.9")) == "10.0.0.1"  # without trusted proxies

    settings.TRUSTED_PROXIES = PROXIES
    forwarded = RequestFactory().get("/", headers={"Forwarded": "for=203.0.113.9"}, REMOTE_ADDR="10.0.0.1")
    assert client_ip.client_ip(forwarded) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", ""),
    ],
)
def test_rate_limit_key_is_an_ipv4_address_or_an_ipv6_network(peer: str, key: str) -> None:
    assert client_ip.rate_limit_key(request(peer)) == key
