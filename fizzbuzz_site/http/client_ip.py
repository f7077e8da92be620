"""Client identification: IP address behind trusted proxies, and rate-limit key."""

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
    """Return whether the request came through one of TRUSTED_PROXIES, so that its headers can be trusted."""
    return bool(settings.TRUSTED_PROXIES) and _trusted(_parsed(request.META.get("REMOTE_ADDR", "")))


def client_ip(request: HttpRequest) -> str:
    """Return the client's IP address: the last in X-Forwarded-For that is not one of TRUSTED_PROXIES.

    A client can forge the beginning of the header, but not what a trusted proxy appends.
    """
    client: str = request.META.get("REMOTE_ADDR", "")
    if behind_proxy(request):
        for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            if not (parsed := _parsed(hop.strip())):
                break
            client = str(parsed)
            if not _trusted(parsed):
                break
    return client


def rate_limit_key(request: HttpRequest) -> str:
    """Return the rate-limit key: the IPv4 address, or the /64 prefix of an IPv6 address (usually one subscriber)."""
    client = client_ip(request)
    parsed = _parsed(client)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed or client)


@lru_cache(1024)  # the proxies' own addresses are in each request
def _parsed(text: str) -> Address | None:
    """Return the IP address in one element of X-Forwarded-For, or None.

    Accepts a bare address, one with a port, an IPv6 address in brackets, and RFC 7239's for="[2001:db8::1]:443". The
    Forwarded header itself is ignored: a proxy that sets only X-Forwarded-For passes the client's Forwarded on.
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
