"""Reading and validation of environment variables.

An error names the variable and what to write, in one line. It never quotes the value, which may be a secret in
the wrong variable.
"""

import os
import re
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

T = TypeVar("T")

DAY = 24 * 3600  # seconds
RATE_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": DAY, "month": 30 * DAY, "year": 365 * DAY}
MAX_RATE_PERIOD_SECONDS = 366 * DAY
MIN_SECRET_KEY_CHARS = 32
HOST_NAME = r"[a-z0-9-]+(\.[a-z0-9-]+)*"
BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

EXPECTED = {
    "DATABASE_URL": "postgresql://user:password@host:5432/name, with each of @ / % : and blank in a name or password "
    "percent-encoded, such as @ as %40, and no other parameters than libpq's",
    "SECRET_KEY": f"a random text of at least {MIN_SECRET_KEY_CHARS} characters, such as the output of: "
    "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'",
    "ALLOWED_HOSTS": "host names or IP addresses separated by commas, without scheme, port and quotes, such as "
    "example.org, or .example.org for all of its subdomains too, or * for all names",
    "TRUSTED_PROXIES": "IP addresses and networks separated by commas, such as 127.0.0.1,10.0.0.0/8",
    "RATE_LIMIT": "a count of numbers and a period of at most a year, such as 600/minute or 50/10 seconds",
    "REDIS_URL": "redis://:password@host:6379/0, rediss://host:6379/0 or unix:///path/to/socket, with each of @ / ? # "
    "in a password percent-encoded, such as @ as %40",
    "CORS_ORIGINS": "origins separated by commas, such as https://example.org,http://localhost:3000, or only * for all",
    "METRICS_TOKEN": "a token of printable ASCII characters",
    "LOG_LEVEL": "one of info, warning, error",
    "FEEDBACK_URL": "a URL such as https://example.org/issues or mailto:team@example.org",
}
declared: dict[str, Any] = {}  # the default of each setting


def read(name: str, default: Any, parse: Callable[[str], T], expected: str = "") -> T:
    """Return the parsed value of a setting, or the default if it is unset or empty."""
    declared[name] = default
    value = _value(name)
    try:
        return parse(value) if value else default
    except (ValueError, KeyError, ProgrammingError):
        raise error(name, "is invalid", expected) from None


def error(name: str, problem: str, expected: str = "") -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} {problem}: write {expected or EXPECTED[name]}.")


def integer(name: str, default: int, low: int, high: int) -> int:
    def parse(value: str) -> int:
        return _require(int(value), re.fullmatch("[0-9]+", value) and low <= int(value) <= high)

    return read(name, default, parse, f"a whole number from {low} to {high}")


def boolean(name: str) -> bool:
    return read(name, False, lambda value: BOOLEANS[value.lower()], "True or False")  # noqa: FBT003 - the default


def _value(name: str) -> str:
    """Return a variable, or the content of the file that NAME_FILE names, without blanks and line ends around it."""
    value = os.environ.get(name, "")
    if path := os.environ.get(f"{name}_FILE", "").strip():
        try:
            value = Path(path).read_text("utf-8")
            _require(value, "\0" not in value)  # UTF-16
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE must be the path of a readable file ({error.strerror}).") from None
        except ValueError:
            raise ImproperlyConfigured(f"{name}_FILE must be the path of a text file in UTF-8.") from None
    value = value.removeprefix("\ufeff").strip()  # the byte order mark of some editors
    if re.fullmatch(r"""(["'`]).*\1""", value, re.DOTALL):
        raise ImproperlyConfigured(f"{name} is invalid: remove the quotes around it.")
    return value


def list_of(parse: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return a parser of items that are separated by commas."""
    return lambda value: [parse(item) for each in value.split(",") if (item := each.strip())]


def secret_key(value: str) -> str:
    value.encode()  # raises UnicodeEncodeError, a ValueError, for bytes that are not UTF-8
    return _require(value, len(value) >= MIN_SECRET_KEY_CHARS and len({*value}) > 4)  # noqa: PLR2004 - as Django's check


def metrics_token(value: str) -> str:
    return _require(value, re.fullmatch("[ -~]+", value))


def allowed_host(item: str) -> str:
    """Return a host name as Django compares it: an IPv6 address in brackets."""
    if item == "*" or re.fullmatch(rf"\.?{HOST_NAME}", item, re.IGNORECASE):
        return item
    return f"[{IPv6Address(item.removeprefix('[').removesuffix(']'))}]"


def rate(value: str) -> tuple[int, int]:
    """Return how many numbers a client may submit, and in how many seconds."""
    found = re.fullmatch(r"(\d{1,9})\s*(?:/|per)\s*(\d{0,9})\s*([a-z]+?)s?", value.lower(), re.ASCII)
    if not found:
        raise ValueError
    amount, seconds = int(found[1]), int(found[2] or 1) * RATE_UNITS[found[3]]
    return _require((amount, seconds), amount and 0 < seconds <= MAX_RATE_PERIOD_SECONDS)


def redis_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme == "unix":
        return _require(value, url.path)
    # A password with one of / ? # that is not percent-encoded would end the host name.
    valid = url.scheme in {"redis", "rediss"} and url.hostname and url.port != 0 and "@" not in url.path + url.query
    return _require(value, valid and not url.fragment and re.fullmatch(r"(/\d*)?", url.path, re.ASCII))


def cors_origins(value: str) -> list[str]:
    return ["*"] if value == "*" else list_of(_origin)(value)


def _origin(item: str) -> str:
    """Return an origin as browsers send it: in lower case, without a default port."""
    origin = item.lower()
    _require(origin, re.fullmatch(rf"https?://({HOST_NAME}|\[[0-9a-f:]+\])(:[0-9]{{1,5}})?", origin))
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def log_level(value: str) -> str:
    return _require(value.lower(), value.lower() in {"info", "warning", "error"})


def feedback_url(value: str) -> str:
    url = urlsplit(value)
    place = url.hostname if url.scheme in {"http", "https"} else url.scheme == "mailto" and "@" in url.path
    return _require(value, place and re.fullmatch(r"[^\s\"'<>\\]+", value) and value.isprintable())


def database(value: str) -> dict[str, Any]:
    """Return Django's parameters for a libpq URL, which can name several hosts and have any of libpq's options."""
    # libpq takes a password with an unencoded @ or / for a part of the host, which its messages quote.
    _require(value, re.fullmatch(r"postgres(ql)?://([^@/]*@)?[^@/?]*(/[^@/?]*)?(\?.*)?", value) and value.isprintable())
    options: dict[str, Any] = conninfo_to_dict(value)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    parameters = {name: options.pop(option, "") for name, option in names.items()}
    _require(
        value, re.fullmatch(r"([0-9]{1,5}|,)*", parameters["PORT"]) and (parameters["NAME"] or "service" in options)
    )
    options["connect_timeout"] = int(options.get("connect_timeout", 2))  # seconds, per host
    return {"ENGINE": "fizzbuzz.db", **parameters, "OPTIONS": options}


def remove_libpq_variables(*, embedded: bool) -> None:
    """Remove the variables that would make libpq connect to another server, or with other options, than DATABASE_URL.

    Those for passwords and encryption stay, but not for the embedded server, which has neither.
    """
    kept = r"PG(PASS|SSL|GSS|KRB|REQUIRE|CHANNELBINDING|M(IN|AX)PROTOCOL)"
    for name in [*os.environ]:
        if re.match(r"PG[A-Z]", name) and (embedded or not re.match(kept, name)):
            del os.environ[name]
    # Whatever is set for the role or the database. PgBouncer accepts these two, and no other of fizzbuzz.db's settings.
    os.environ.update(PGDATESTYLE="ISO, MDY", PGTZ="UTC")


def _require(value: T, valid: object) -> T:
    if not valid:
        raise ValueError
    return value
