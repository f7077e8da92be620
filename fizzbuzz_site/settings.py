"""All configuration. Every environment variable is declared here, once; unset, or empty, means production.

Each may also come from a file: NAME_FILE names it.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import validate
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from core import log_config, openapi, worker_metrics
from core.db.deadline import DeadlineConnection
from embedded.secret_key import load_or_create_secret_key
from embedded.server import DATABASE, USER, Server
from fizzbuzz_site import __version__
from fizzbuzz_site.environment import Environment, remove_libpq_variables

if TYPE_CHECKING:
    from limits import RateLimitItem

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

MAX_WINDOW = 366 * 24 * 3600  # seconds, of RATE_LIMIT


def _networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(text) for text in texts]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES: {error}; write addresses and networks separated by commas, such as 127.0.0.1,10.0.0.0/8"
        ) from error


def _rate(text: str) -> RateLimitItem | None:
    if not text:
        return None
    from limits import parse_many  # noqa: PLC0415 - a tenth of a second, for those alone who set a limit

    try:
        (rate,) = (each for each in parse_many(text) if 0 < each.amount < 10**9 and each.get_expiry() <= MAX_WINDOW)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"RATE_LIMIT: {text!r} is not a rate; write a number of requests and a period of at most a year, such as "
            "600/minute, 1000/hour or 50/10 seconds"
        ) from error
    return rate


def _origins(texts: list[str]) -> list[str]:
    for text in texts:
        if texts != ["*"] and not re.fullmatch(r"https?://[^/?#\s]+", text):
            raise ImproperlyConfigured(
                f"CORS_ORIGINS: {text!r} is no origin; write origins separated by commas, such as "
                "https://example.org,http://localhost:3000, or * alone for all"
            )
    return texts


def _database(url: str) -> dict[str, Any]:
    """Return Django's parameters for a libpq URL, which may name several hosts and any of libpq's options."""
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
    return {"ENGINE": "core.db", **parameters, "OPTIONS": options, "CONN_HEALTH_CHECKS": True}


# What `manage.py serve` listens on, and with how many processes.
HOST: str = env.str("HOST", "127.0.0.1")
PORT: int = env.int("PORT", 8080, validate=validate.Range(min=0, max=65_535))
WEB_CONCURRENCY: int = env.int("WEB_CONCURRENCY", 2, validate=validate.Range(min=1))

DEBUG: bool = env.bool("DEBUG", False)
# Unset: the embedded PostgreSQL, with its data and the generated secret key in DATA_DIR.
DATABASE_URL: str = env.str("DATABASE_URL", "")
DATA_DIR = Path(env.str("DATA_DIR", "") or BASE_DIR / "var").absolute()
# Connections in one worker process' pool. Reads leave two of them to writes.
DATABASE_POOL_SIZE: int = env.int("DATABASE_POOL_SIZE", 8, validate=validate.Range(min=1))
# DATABASE_URL leads to a pooler in transaction mode, such as PgBouncer, which keeps no session for a client.
TRANSACTION_POOLING: bool = env.bool("TRANSACTION_POOLING", False)
SECRET_KEY: str = env.str("SECRET_KEY", "")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", [])
# On: people reach the service by https through a proxy that sets X-Forwarded-Proto.
HTTPS: bool = env.bool("HTTPS", False)
# Networks of the proxies in front: what they say of the client, and of the request's id, is believed.
TRUSTED_PROXIES = _networks(env.list("TRUSTED_PROXIES", []))
# Submissions that one client may send, such as 600/minute; unset: no limit.
RATE_LIMIT = _rate(env.str("RATE_LIMIT", ""))
# The Redis or Valkey that counts for RATE_LIMIT, for all processes and machines.
REDIS_URL: str = env.str("REDIS_URL", "")
# Pages of these origins may read the API by script; * is every page.
CORS_ORIGINS = _origins(env.list("CORS_ORIGINS", []))
# info: a line for each request; warning and error: none.
LOG_LEVEL: str = env.str("LOG_LEVEL", "info", validate=validate.OneOf(["info", "warning", "error"]))
# Where people report a problem; every page and the OpenAPI document link to it.
FEEDBACK_URL: str = env.str("FEEDBACK_URL", "")
VERSION = __version__
# What was deployed, such as a commit; shown by /info.
REVISION: str = env.str("REVISION", "unknown")

EMBEDDED = None if DATABASE_URL else Server(DATA_DIR)
remove_libpq_variables(embedded=EMBEDDED is not None)
# Who may read /metrics: who sends the token; without one nobody, unless it is public, as with the embedded database.
METRICS_TOKEN: str = env.str("METRICS_TOKEN", "")
METRICS_PUBLIC: bool = env.bool("METRICS_PUBLIC", False) or EMBEDDED is not None
# Set by `manage.py serve` for its workers.
SERVED_AT: str = env.str("FIZZBUZZ_SERVED_AT", "")
STARTED_AT: float = env.float("FIZZBUZZ_STARTED_AT", 0)  # Unix time

if not SECRET_KEY:
    if not EMBEDDED:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set, and DATABASE_URL is: set it (or SECRET_KEY_FILE) to a long random text, "
            "the same for all instances, such as the output of: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    try:
        SECRET_KEY = load_or_create_secret_key(DATA_DIR)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data folder {DATA_DIR} can't be used ({error.strerror}): "
            "set DATA_DIR to another, or DATABASE_URL to a server of your own."
        ) from error

if RATE_LIMIT and urlsplit(REDIS_URL).scheme not in {"redis", "rediss", "unix"}:
    raise ImproperlyConfigured(
        "RATE_LIMIT needs REDIS_URL, the Redis or Valkey that counts for all processes: set it to "
        "redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket, or leave RATE_LIMIT unset."
    )

if not ALLOWED_HOSTS:
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    if EMBEDDED and HOST in {"0.0.0.0", "::", "[::]"}:  # noqa: S104 - compared
        # Whoever tries it out from a phone knows this machine by a name that we don't.
        ALLOWED_HOSTS = ["*"]

worker_metrics.install()  # before the first of these creates a metric

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django_prometheus",
    "axes",
    "embedded",
    "fizzbuzz_site",
    "fizzbuzz",
]

MIDDLEWARE = [
    "core.request_log.RequestLogMiddleware",
    "core.probes.ProbesMiddleware",
    "core.http_metrics.RequestMetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    *(["core.middleware.ReadOnlyCorsMiddleware"] if CORS_ORIGINS else []),
    "core.middleware.PagePolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "core.middleware.AdminSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "core.middleware.AdminAuthenticationMiddleware",
    "core.middleware.AdminMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "fizzbuzz.web.errors.UnavailableMiddleware",
    *(["fizzbuzz.web.rate_limit.RateLimitMiddleware"] if RATE_LIMIT else []),
]

ROOT_URLCONF = "fizzbuzz_site.urls"
WSGI_APPLICATION = "fizzbuzz_site.wsgi.application"
# The addresses are as urls.py writes them, and no others.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, Any] = {"default": _database(DATABASE_URL or f"postgresql://{USER}@/{DATABASE}")}
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = TRANSACTION_POOLING
DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 2)  # seconds, for each host
DATABASE_POOL_TIMEOUT_SECONDS = 5  # a request that waits longer for a connection is answered 503
if SERVED_AT:
    # Many requests share a few connections.
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": DATABASE_POOL_SIZE,
        "timeout": DATABASE_POOL_TIMEOUT_SECONDS,
        "connection_class": DeadlineConnection,
    }

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# JSON, or human-readable on a terminal or with DEBUG.
LOG_READABLE = DEBUG or sys.stderr.isatty()
LOGGING = log_config.configuration(LOG_LEVEL, readable=LOG_READABLE)

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

PASSWORD_HASHERS = ["core.hashing.PasswordHasher"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Lock out by (username, IP address), so that an attacker cannot lock a user out elsewhere. The handler also
# limits an address that tries many names.
AXES_HANDLER = "core.login_attempts.LoginAttempts"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "core.client_ip.rate_limit_key"
AXES_USERNAME_CALLABLE = "core.client_ip.login_username"
AXES_LOCKOUT_CALLABLE = "fizzbuzz.web.errors.locked_out"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

CORS_ALLOW_ALL_ORIGINS = CORS_ORIGINS == ["*"]
CORS_ALLOWED_ORIGINS = [] if CORS_ALLOW_ALL_ORIGINS else CORS_ORIGINS
CORS_URLS_REGEX = "^/api/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "OPTIONS"]
# No Content-Type: browsers ask about it before they POST JSON, and are told no.
CORS_ALLOW_HEADERS: list[str] = []

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],  # Swagger UI's icons
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}
SESSION_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 12 * 3600  # a working day
CSRF_FAILURE_VIEW = "fizzbuzz.web.errors.csrf_failure"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
# HSTS for subdomains and preloading bind hosts that are not this service's. Axes' middleware is around
# the admin's login alone (urls.py), where it costs no other address.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "axes.W002"]

REST_FRAMEWORK = {
    # No cookie, no session: a browser's API requests carry no authority that CSRF could abuse.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_PARSER_CLASSES": ["fizzbuzz.api.parsers.StrictJSONParser", "rest_framework.parsers.FormParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fizzbuzz.api.negotiation.ContentNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "fizzbuzz.api.problems.exception_handler",
}

# Bytes of a body: 10,000 of the longest numbers take 230,000.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

SPECTACULAR_SETTINGS = {
    "TITLE": "FizzBuzz",
    "DESCRIPTION": (
        "Classifies whole numbers, records every one, and knows the most common. "
        "Errors are problem details (RFC 9457); [their types are explained](/docs/problems).\n\n"
        "Ids, numbers and counts are 64-bit integers. JavaScript's `JSON.parse` rounds integers past 2^53; "
        "this reads them exactly, as a BigInt:\n\n"
        "```js\n"
        "JSON.parse(text, (key, value, { source }) =>\n"
        "  Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(source) : value)\n"
        "```\n\n"
        'To send one, write it as text: `{"number": "9223372036854775807"}`.'
    ),
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "VERSION": VERSION,
    "CONTACT": {"name": "Feedback", "url": FEEDBACK_URL} if FEEDBACK_URL else {},
    "SERVERS": [{"url": "/", "description": "This service"}],
    "TAGS": [
        {"name": "fizzbuzz", "description": "Submit numbers, and read the log of submissions"},
        {"name": "most_common", "description": "The most common numbers"},
        {"name": "numbers", "description": "Classify a number, and read its count"},
        {"name": "service", "description": "Versions and health, for operators and load balancers"},
    ],
    "APPEND_PATHS": openapi.PATHS,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
