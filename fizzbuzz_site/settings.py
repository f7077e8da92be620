"""Django settings. Every environment variable for operators is read here, once; docs/configuration.md explains them.

Importing this module also creates the secret key of `make run`, removes libpq's variables, and replaces
prometheus_client's storage. `serve` passes three variables on to gunicorn and its workers: FIZZBUZZ_SERVED_AT,
FIZZBUZZ_STARTED_AT and FIZZBUZZ_EMBEDDED.
"""

import os
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

import fizzbuzz_site.serving.worker_metrics  # noqa: F401 - before an app creates a metric
from fizzbuzz_site import __version__, environment
from fizzbuzz_site.embedded.secret_key import load_or_create_secret_key
from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from fizzbuzz_site.http import openapi
from fizzbuzz_site.serving import log

BASE_DIR = Path(__file__).resolve().parent.parent

HOST = environment.read("HOST", "127.0.0.1", str)
PORT = environment.integer("PORT", 8080, 0, 65_535)
WEB_CONCURRENCY = environment.integer("WEB_CONCURRENCY", 2, 1, 512)
DATABASE_POOL_SIZE = environment.integer("DATABASE_POOL_SIZE", 8, 3, 10_000)
TRANSACTION_POOLING = environment.boolean("TRANSACTION_POOLING")
HTTPS = environment.boolean("HTTPS")
DEBUG = environment.boolean("DEBUG")
METRICS_PUBLIC = environment.boolean("METRICS_PUBLIC")
DATA_DIR = Path(environment.read("DATA_DIR", "", str) or BASE_DIR / "var").absolute()
REVISION = environment.read("REVISION", "unknown", str)
LOG_LEVEL = environment.read("LOG_LEVEL", "info", environment.log_level)
SECRET_KEY = environment.read("SECRET_KEY", "", environment.secret_key)
ALLOWED_HOSTS = environment.read("ALLOWED_HOSTS", [], environment.list_of(environment.allowed_host))
TRUSTED_PROXIES = environment.read("TRUSTED_PROXIES", [], environment.list_of(ip_network))
RATE_LIMIT = environment.read("RATE_LIMIT", None, environment.rate)
REDIS_URL = environment.read("REDIS_URL", "", environment.redis_url)
CORS_ORIGINS = environment.read("CORS_ORIGINS", [], environment.cors_origins)
METRICS_TOKEN = environment.read("METRICS_TOKEN", "", environment.metrics_token)
FEEDBACK_URL = environment.read("FEEDBACK_URL", "", environment.feedback_url)
database = environment.read("DATABASE_URL", {}, environment.database)  # lower case: Django's debug page omits it

# True in the processes that `serve` starts: gunicorn and its workers, and no management command.
IN_WEB_WORKER = "FIZZBUZZ_SERVED_AT" in os.environ
STARTED_AT = float(os.environ.get("FIZZBUZZ_STARTED_AT", "0"))  # Unix time
EMBEDDED = None if database else Server(DATA_DIR)
METRICS_PUBLIC = METRICS_PUBLIC or EMBEDDED is not None
environment.remove_libpq_variables(embedded=EMBEDDED is not None)

if EMBEDDED and not SECRET_KEY:
    try:
        SECRET_KEY = load_or_create_secret_key(DATA_DIR)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data folder {DATA_DIR} can't be used ({error.strerror}): "
            "set DATA_DIR to another, or DATABASE_URL to a server of your own."
        ) from None
if not SECRET_KEY:
    raise environment.error("SECRET_KEY", "is required with DATABASE_URL, and the same for all instances")
if RATE_LIMIT and not REDIS_URL:
    raise environment.error("REDIS_URL", "is required with RATE_LIMIT, to count for all processes")
if not ALLOWED_HOSTS:
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    if EMBEDDED and HOST in {"0.0.0.0", "::", "[::]"}:  # noqa: S104 - compared
        # Other devices, such as a phone, use a host name that is not known here.
        ALLOWED_HOSTS = ["*"]

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

# Each with the reason for its place. The first is the outermost.
MIDDLEWARE = [
    "fizzbuzz_site.http.request_log.RequestLogMiddleware",  # gives all others' log lines an ID
    "django.middleware.security.SecurityMiddleware",  # static files get its headers, too
    "fizzbuzz_site.http.monitoring.ProbesMiddleware",  # probes come by plain http, with an IP address as Host
    *(["corsheaders.middleware.CorsMiddleware"] if CORS_ORIGINS else []),  # errors need its headers, too
    "fizzbuzz_site.http.middleware.PagePolicyMiddleware",  # all HTML, also that of errors
    "whitenoise.middleware.WhiteNoiseMiddleware",  # static files need nothing that follows
    "fizzbuzz_site.http.middleware.AdminMiddleware",  # removes cookies of other requests before CSRF reads them
    "django.middleware.common.CommonMiddleware",  # checks Host, and sets Content-Length of all that follows
    "django.middleware.csrf.CsrfViewMiddleware",  # reads the session of the admin
    "django.middleware.clickjacking.XFrameOptionsMiddleware",  # anywhere: no view is exempt
    "fizzbuzz_site.http.errors.ErrorMiddleware",  # errors of views, with the headers of all the above
    *(["fizzbuzz_site.http.rate_limit.RateLimitMiddleware"] if RATE_LIMIT else []),  # counts only what the gate accepts
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

DATABASES: dict[str, Any] = {"default": database or environment.database(f"postgresql://{USER}@/{DATABASE}")}
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = TRANSACTION_POOLING
DATABASES["default"]["OPTIONS"] = {
    # A server that is gone is noticed within 15 s, also by connections that wait for it.
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,  # seconds
    "keepalives_interval": 5,
    # For DeadlineConnection.prepared; Django's own statements are never prepared. PgBouncer may run each statement on
    # another server connection, where it was not prepared.
    "prepare_threshold": None if TRANSACTION_POOLING else 0,
    **DATABASES["default"]["OPTIONS"],
}
DATABASE_POOL_TIMEOUT_SECONDS = 5  # maximum wait of a request for a connection; then it gets a 503

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_ROOT = BASE_DIR / "static/root"  # served as /robots.txt, /favicon.ico and so on
STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}

# JSON, or human-readable on a terminal or with DEBUG.
LOG_READABLE = DEBUG or sys.stderr.isatty()
LOGGING = log.configuration(LOG_LEVEL, readable=LOG_READABLE)

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]

PASSWORD_HASHERS = ["fizzbuzz_site.http.logins.PasswordHasher"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Lock out by (username, IP address), so that an attacker cannot lock a user out elsewhere. The handler also
# locks out an IP address that tries many user names.
AXES_HANDLER = "fizzbuzz_site.http.logins.LoginAttempts"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "fizzbuzz_site.http.client_ip.rate_limit_key"
AXES_USERNAME_CALLABLE = "fizzbuzz_site.http.logins.login_username"
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
CORS_ALLOW_HEADERS = ["if-none-match"]
CORS_EXPOSE_HEADERS = [
    "ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "Warning", "X-Request-ID",
]  # fmt: skip

SESSION_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 12 * 3600  # a working day
CSRF_FAILURE_VIEW = "fizzbuzz_site.http.errors.csrf_failure"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_REDIRECT_EXEMPT = ["^health(/live)?$", "^metrics$"]  # addressed by IP address, over plain http
# W005, W021: HSTS for subdomains and preloading would affect other services' hosts. axes.W002: its middleware wraps
# only the admin's login (urls.py), so that other requests do not pay for it. admin.E408 to E410: AdminMiddleware runs
# these.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "axes.W002", "admin.E408", "admin.E409", "admin.E410"]

REST_FRAMEWORK = {
    # The API uses no cookies, so CSRF has nothing to abuse.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_PARSER_CLASSES": ["fizzbuzz.api.formats.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer", "fizzbuzz.api.formats.BrowsablePages"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fizzbuzz.api.formats.ContentNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "fizzbuzz.api.problems.exception_handler",
}

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
        "To send one, write its digits:\n\n"
        "```js\n"
        'body = `{"number": ${9223372036854775807n}}`\n'
        "```"
    ),
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "VERSION": __version__,
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
