"""Reading and validation of environment variables."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from environs import FileAwareEnv
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from limits import RateLimitItem

MAX_RATE_PERIOD_SECONDS = 366 * 24 * 3600


class Environment(FileAwareEnv):
    """Environment variables, each of which can come from a file named by NAME_FILE. Empty ones count as unset.

    `_get_value` is not documented, but environs has no public hook for all types of values.
    """

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            value = super()._get_value(env_key, default)
        except OSError as error:
            raise ValueError(f"The value of {env_key}_FILE must be a readable file path ({error.strerror}).") from error
        return default if isinstance(value, str) and not value.strip() else value


def remove_libpq_variables(*, embedded: bool) -> None:
    """Remove the variables that would make libpq connect to another server, or with other options, than DATABASE_URL.

    Those for passwords and encryption stay, but not for the embedded server, which has neither.
    """
    kept = r"PG(PASS|SSL|GSS|KRB|REQUIRE|CHANNELBINDING|M(IN|AX)PROTOCOL)"
    for name in [*os.environ]:
        if re.match(r"PG[A-Z]", name) and (embedded or not re.match(kept, name)):
            del os.environ[name]


def networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    """Validate TRUSTED_PROXIES."""
    try:
        return [ip_network(text) for text in texts]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES: {error}; write IP addresses and networks separated by commas, such as "
            "127.0.0.1,10.0.0.0/8"
        ) from error


def rate(text: str) -> RateLimitItem | None:
    """Validate RATE_LIMIT."""
    if not text:
        return None
    from limits import parse_many  # noqa: PLC0415 - takes 0.1 s, which only services with a limit should spend

    try:
        (parsed,) = (
            each
            for each in parse_many(text)
            if 0 < each.amount < 10**9 and each.get_expiry() <= MAX_RATE_PERIOD_SECONDS
        )
    except ValueError as error:
        raise ImproperlyConfigured(
            f"RATE_LIMIT: {text!r} is not a valid rate; write a number of requests and a period of at most a year, "
            "such as 600/minute, 1000/hour or 50/10 seconds"
        ) from error
    return parsed


def origins(texts: list[str]) -> list[str]:
    """Validate CORS_ORIGINS."""
    for text in texts:
        if texts != ["*"] and not re.fullmatch(r"https?://[^/?#\s]+", text):
            raise ImproperlyConfigured(
                f"CORS_ORIGINS: {text!r} is not a valid origin; write origins separated by commas, such as "
                "https://example.org,http://localhost:3000, or only * for all"
            )
    return texts


def database(url: str) -> dict[str, Any]:
    """Return Django's parameters for a libpq URL, which can name several hosts and have any of libpq's options."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured(
            "DATABASE_URL must name a PostgreSQL database: postgresql://user:password@host:5432/name"
        )
    try:
        options = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {str(error).strip()}") from error
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    parameters = {name: options.pop(option, "") for name, option in names.items()}
    return {"ENGINE": "fizzbuzz.db", **parameters, "OPTIONS": options}
