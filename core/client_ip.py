"""Who asks."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest

_DECORATED = re.compile(
    r'(?:for=)?(?P<quote>"?)(?:\[(?P<v6>[^\]"]*)\]|(?P<v4>[\d.]+))(?::\w+)?(?P=quote)(?:;.*)?', re.ASCII | re.IGNORECASE
)
Address = IPv4Address | IPv6Address


def behind_proxy(request: HttpRequest) -> bool:
    """Whether the request came through a proxy of ours, whose headers can be believed."""
    return bool(settings.TRUSTED_PROXIES) and _trusted(_parsed(_peer(request)))


def client_ip(request: HttpRequest) -> str:
    """The client's address: the last in X-Forwarded-For that none of our proxies has.

    Whoever sends the header can write what they like into it, but not behind what a proxy of ours appends.
    """
    client = _peer(request)
    if behind_proxy(request):
        for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            if not (parsed := _parsed(hop.strip())):
                break
            client = str(parsed)
            if not _trusted(parsed):
                break
    return client


def rate_limit_key(request: HttpRequest) -> str:
    """The client as limits know it: its address, or the /64 of one in IPv6, for whoever has one has all of it."""
    client = client_ip(request)
    parsed = _parsed(client)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed or client)


def login_username(request: HttpRequest, credentials: dict[str, str] | None) -> str:
    """The name that somebody signs in with, as much of it as axes' column holds."""
    return str((credentials or request.POST).get("username") or "")[:255]


def _peer(request: HttpRequest) -> str:
    """Who is at the other end of the connection; nobody, where Django makes up a request, as its test client does."""
    return str(request.META.get("REMOTE_ADDR", ""))


@lru_cache(1024)  # the proxies' own come with each request
def _parsed(text: str) -> Address | None:
    """Return the IP address of one hop of X-Forwarded-For; None if it names none.

    Proxies write it bare, with a port, an IPv6 address in brackets, or as RFC 7239 does: for="[2001:db8::1]:443". The
    header Forwarded itself is not read: a proxy that sets only the other one passes on what the client wrote in it.
    """
    if found := _DECORATED.fullmatch(text):
        text = found["v6"] or found["v4"]
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _trusted(parsed: Address | None) -> bool:
    return parsed is not None and any(parsed in network for network in settings.TRUSTED_PROXIES)
