"""Django settings. Every environment variable is declared here, once; the defaults suit production."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import validate

from fizzbuzz.db.deadline import DeadlineConnection
from fizzbuzz_site import __version__, environment
from fizzbuzz_site.embedded.secret_key import load_or_create_secret_key
from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from fizzbuzz_site.http import openapi
from fizzbuzz_site.serving import log_config, worker_metrics

BASE_DIR = Path(__file__).resolve().parent.parent
env = environment.Environment(strip_whitespace=True)

# The IP address, port and number of worker processes of `manage.py serve`.
HOST: str = env.str("HOST", "127.0.0.1")
PORT: int = env.int("PORT", 8080, validate=validate.Range(min=0, max=65_535))
WEB_CONCURRENCY: int = env.int("WEB_CONCURRENCY", 2, validate=validate.Range(min=1))

DEBUG: bool = env.bool("DEBUG", False)
# If unset, the embedded PostgreSQL is used, with its data and a generated secret key in DATA_DIR.
DATABASE_URL: str = env.str("DATABASE_URL", "")
DATA_DIR = Path(env.str("DATA_DIR", "") or BASE_DIR / "var").absolute()
# Connections per worker process. Two of them are reserved for writes.
DATABASE_POOL_SIZE: int = env.int("DATABASE_POOL_SIZE", 8, validate=validate.Range(min=1))
# True if DATABASE_URL names a pooler in transaction mode, such as PgBouncer, which keeps no session for a client.
TRANSACTION_POOLING: bool = env.bool("TRANSACTION_POOLING", False)
SECRET_KEY: str = env.str("SECRET_KEY", "")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", [])
# True if clients use https through a proxy that sets X-Forwarded-Proto.
HTTPS: bool = env.bool("HTTPS", False)
# Networks of reverse proxies. Their X-Forwarded-For and X-Request-ID headers are trusted.
TRUSTED_PROXIES = environment.networks(env.list("TRUSTED_PROXIES", []))
# Maximum rate of submissions per client, such as 600/minute. If unset, there is no limit.
RATE_LIMIT = environment.rate(env.str("RATE_LIMIT", ""))
# Redis or Valkey with the counters of RATE_LIMIT, shared by all processes and machines.
REDIS_URL: str = env.str("REDIS_URL", "")
# Origins whose scripts can read the API; * for all.
CORS_ORIGINS = environment.origins(env.list("CORS_ORIGINS", []))
# info logs a line per request; warning and error do not.
LOG_LEVEL: str = env.str("LOG_LEVEL", "info", validate=validate.OneOf(["info", "warning", "error"]))
# Where people report a problem; every page and the OpenAPI document link to it.
FEEDBACK_URL: str = env.str("FEEDBACK_URL", "")
VERSION = __version__
# The deployed revision, such as a commit; shown by /info.
REVISION: str = env.str("REVISION", "unknown")

EMBEDDED = None if DATABASE_URL else Server(DATA_DIR)
environment.remove_libpq_variables(embedded=EMBEDDED is not None)
# /metrics requires this token. Without one it is forbidden, unless it is public, as with the embedded database.
METRICS_TOKEN: str = env.str("METRICS_TOKEN", "")
METRICS_PUBLIC: bool = env.bool("METRICS_PUBLIC", False) or EMBEDDED is not None
# Set by `manage.py serve` for its workers: the URL that it listens on.
SERVED_AT: str = env.str("FIZZBUZZ_SERVED_AT", "")
STARTED_AT: float = env.float("FIZZBUZZ_STARTED_AT", 0)  # Unix time

if not SECRET_KEY:
    if not EMBEDDED:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set, but required with DATABASE_URL: set it (or SECRET_KEY_FILE) to a long random text, "
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
        "RATE_LIMIT requires REDIS_URL, a Redis or Valkey for the counters of all processes: set it to "
        "redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket, or unset RATE_LIMIT."
    )

if not ALLOWED_HOSTS:
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    if EMBEDDED and HOST in {"0.0.0.0", "::", "[::]"}:  # noqa: S104 - compared
        # Other devices, such as a phone, use a host name that is not known here.
        ALLOWED_HOSTS = ["*"]

worker_metrics.install()  # before an app creates a metric

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "axes",
    "fizzbuzz_site",
    "fizzbuzz",
]

MIDDLEWARE = [
    "fizzbuzz_site.http.request_log.RequestLogMiddleware",
    "fizzbuzz_site.http.probes.ProbesMiddleware",
    "fizzbuzz_site.http.http_metrics.RequestMetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    *(["fizzbuzz_site.http.middleware.ReadOnlyCorsMiddleware"] if CORS_ORIGINS else []),
    "fizzbuzz_site.http.middleware.PagePolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "fizzbuzz_site.http.middleware.AdminSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "fizzbuzz_site.http.middleware.AdminAuthenticationMiddleware",
    "fizzbuzz_site.http.middleware.AdminMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "fizzbuzz_site.http.errors.UnavailableMiddleware",
    *(["fizzbuzz_site.http.rate_limit.RateLimitMiddleware"] if RATE_LIMIT else []),
]

ROOT_URLCONF = "fizzbuzz_site.urls"
APPEND_SLASH = False  # URLs are exactly those in urls.py

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

DATABASES: dict[str, Any] = {"default": environment.database(DATABASE_URL or f"postgresql://{USER}@/{DATABASE}")}
DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 2)  # seconds, per host
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = TRANSACTION_POOLING
# For DeadlineConnection.prepared; Django's own statements are never prepared. PgBouncer may run each statement on
# another server connection, where it was not prepared.
DATABASES["default"]["OPTIONS"]["prepare_threshold"] = None if TRANSACTION_POOLING else 0
DATABASE_POOL_TIMEOUT_SECONDS = 5  # maximum wait of a request for a connection; then it gets a 503
if SERVED_AT:
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
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]

PASSWORD_HASHERS = ["fizzbuzz_site.http.hashing.PasswordHasher"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Lock out by (username, IP address), so that an attacker cannot lock a user out elsewhere. The handler also
# locks out an IP address that tries many user names.
AXES_HANDLER = "fizzbuzz_site.http.login_attempts.LoginAttempts"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "fizzbuzz_site.http.client_ip.rate_limit_key"
AXES_USERNAME_CALLABLE = "fizzbuzz_site.http.client_ip.login_username"
AXES_LOCKOUT_CALLABLE = "fizzbuzz_site.http.errors.locked_out"
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
# Without Content-Type, so that a preflight for a POST of JSON fails.
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
CSRF_FAILURE_VIEW = "fizzbuzz_site.http.errors.csrf_failure"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
# W005, W021: HSTS for subdomains and preloading would affect other services' hosts. axes.W002: its middleware wraps
# only the admin's login (urls.py), so that other requests do not pay for it.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "axes.W002"]

REST_FRAMEWORK = {
    # The API uses no cookies, so CSRF has nothing to abuse.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_PARSER_CLASSES": ["fizzbuzz.api.parsers.StrictJSONParser", "rest_framework.parsers.FormParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fizzbuzz.api.negotiation.ContentNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "fizzbuzz.api.problems.exception_handler",
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes of a body; 10,000 of the longest numbers take 230,000

SPECTACULAR_SETTINGS = {
    "TITLE": "FizzBuzz",
    "DESCRIPTION": (
        "Classifies integers, records each submission, and ranks the most common numbers. "
        "Errors are problem details (RFC 9457); see [the problem types](/docs/problems).\n\n"
        "IDs, numbers and counts are 64-bit integers. JavaScript's `JSON.parse` rounds integers beyond 2^53; "
        "this reads them exactly, as BigInt:\n\n"
        "```js\n"
        "JSON.parse(text, (key, value, { source }) =>\n"
        "  Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(source) : value)\n"
        "```\n\n"
        'To send one, write it as a string: `{"number": "9223372036854775807"}`.'
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
