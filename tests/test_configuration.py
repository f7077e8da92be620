from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INTERNAL = {"FIZZBUZZ_SERVED_AT", "FIZZBUZZ_STARTED_AT"}

SERVER = {"DATABASE_URL": "postgresql://nobody@localhost/nowhere", "SECRET_KEY": "given"}
NO_SECRET_KEY = (
    "SECRET_KEY is not set, but required with DATABASE_URL: set it (or SECRET_KEY_FILE) to a long random text, the "
    "same for all instances, such as the output of: python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
)
NO_CACHE = (
    "RATE_LIMIT requires REDIS_URL, a Redis or Valkey for the counters of all processes: set it to "
    "redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket, or unset RATE_LIMIT."
)


def declared() -> dict[str, str]:
    """Return the environment variables that settings.py reads, with their defaults as in documentation."""
    nodes = ast.walk(ast.parse((ROOT / "fizzbuzz_site/settings.py").read_text()))
    calls = [each for each in nodes if isinstance(each, ast.Call) and ast.unparse(each.func).startswith("env.")]
    found = {name: default for name, default, *_ in ([ast.literal_eval(arg) for arg in call.args] for call in calls)}
    return {name: str(default) if default != [] else "" for name, default in found.items() if name not in INTERNAL}


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in an environment with only these settings."""
    settings = {*declared(), "DJANGO_SETTINGS_MODULE"}
    environment = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in settings}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False
    )


def setting(name: str, **variables: str) -> object:
    code = f"import json; from fizzbuzz_site import settings; print(json.dumps(settings.{name}))"
    return json.loads(run("-c", code, **variables).stdout)


def test_env_example_lists_every_variable_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()

    assert dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE)) == declared()


def test_documentation_lists_every_variable_with_its_default() -> None:
    text = (ROOT / "docs/configuration.md").read_text()

    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? *\|", text, re.MULTILINE)

    assert dict(rows) == declared()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DATABASE_URL": SERVER["DATABASE_URL"]}, NO_SECRET_KEY),
        (SERVER | {"PORT": "abc"}, 'Environment variable "PORT" invalid: Not a valid integer.'),
        (
            SERVER | {"PORT": "65536"},
            (
                'Environment variable "PORT" invalid: '
                "['Must be greater than or equal to 0 and less than or equal to 65535.']"
            ),
        ),
        (
            SERVER | {"DATABASE_URL": "mysql://root@localhost/fizzbuzz"},
            "DATABASE_URL must name a PostgreSQL database: postgresql://user:password@host:5432/name",
        ),
        (
            SERVER | {"SECRET_KEY_FILE": "/nowhere/secret_key"},
            "The value of SECRET_KEY_FILE must be a readable file path.",
        ),
        (
            SERVER | {"SECRET_KEY_FILE": "/dev/null/secret_key"},
            "The value of SECRET_KEY_FILE must be a readable file path (Not a directory).",
        ),
        (
            SERVER | {"TRUSTED_PROXIES": "10.0.0.0/8,proxy"},
            (
                "TRUSTED_PROXIES: 'proxy' does not appear to be an IPv4 or IPv6 network; "
                "write IP addresses and networks separated by commas, such as 127.0.0.1,10.0.0.0/8"
            ),
        ),
        (
            SERVER | {"RATE_LIMIT": "600 a minute", "REDIS_URL": "redis://localhost"},
            (
                "RATE_LIMIT: '600 a minute' is not a valid rate; write a number of requests and a period of at most a "
                "year, such as 600/minute, 1000/hour or 50/10 seconds"
            ),
        ),
        (SERVER | {"RATE_LIMIT": "600/minute"}, NO_CACHE),
        (SERVER | {"RATE_LIMIT": "600/minute", "REDIS_URL": "localhost:6379"}, NO_CACHE),
        (
            SERVER | {"CORS_ORIGINS": "https://example.org,example.com"},
            (
                "CORS_ORIGINS: 'example.com' is not a valid origin; write origins separated by commas, such as "
                "https://example.org,http://localhost:3000, or only * for all"
            ),
        ),
        (
            {"DATA_DIR": "/proc/nowhere"},
            (
                "The data folder /proc/nowhere can't be used (No such file or directory): "
                "set DATA_DIR to another, or DATABASE_URL to a server of your own."
            ),
        ),
    ],
    ids=[
        "secret key missing",
        "port not a number",
        "port too large",
        "not postgresql",
        "secret key file missing",
        "secret key file unreadable",
        "invalid network",
        "invalid rate",
        "REDIS_URL missing",
        "REDIS_URL invalid",
        "invalid origin",
        "data folder unusable",
    ],
)
def test_invalid_setting_is_reported_in_one_line(variables: dict[str, str], message: str) -> None:
    check = run("manage.py", "check", **variables)

    assert (check.returncode, check.stdout, check.stderr) == (1, "", f"error: {message}\n")


def test_secret_key_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")

    key = setting("SECRET_KEY", DATABASE_URL=SERVER["DATABASE_URL"], SECRET_KEY_FILE=str(tmp_path / "key"))

    assert key == "from a file"


def test_secret_key_is_generated_once_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    first, second = (setting("SECRET_KEY", DATA_DIR=str(tmp_path / "var")) for _ in range(2))

    kept = tmp_path / "var" / "secret_key"
    assert first == second == kept.read_text()
    assert len(kept.read_text()) == 50
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [each.name for each in kept.parent.iterdir()] == ["secret_key"]


@pytest.mark.parametrize("left", [b"", b"\0" * 50], ids=["empty", "zeros"])
def test_secret_key_emptied_by_a_power_failure_is_replaced(tmp_path: Path, left: bytes) -> None:
    kept = tmp_path / "secret_key"
    kept.write_bytes(left)

    check = run("manage.py", "check", DATA_DIR=str(tmp_path))

    assert (check.returncode, check.stderr.partition("System check")[0]) == (
        0,
        f"warning: {kept} was empty. A new key was created: all users must log in again\n",
    )
    assert len(kept.read_text()) == 50
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_secret_key_is_durable_before_it_is_used(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is missing")
    trace = ["-f", "-o", str(tmp_path / "trace"), "-e", "trace=fsync,rename,renameat,renameat2,flock"]
    code = "from fizzbuzz_site import settings"
    # Neither Python's cache nor the measurement of coverage, which rename files of their own.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    ours = {"DATA_DIR": str(tmp_path / "var"), "DATABASE_URL": "", "SECRET_KEY": "", "PYTHONDONTWRITEBYTECODE": "1"}

    subprocess.run(["strace", *trace, sys.executable, "-c", code], cwd=ROOT, env=inherited | ours, check=True)

    calls = re.findall(r"(fsync|rename|flock)\w*\(", (tmp_path / "trace").read_text())
    assert calls == ["flock", "fsync", "rename", "fsync"]


ALL = """
import json
from fizzbuzz_site import settings
print(json.dumps({name: repr(getattr(settings, name)) for name in sys.argv[1:]}))
"""


def test_empty_variables_count_as_unset(tmp_path: Path) -> None:
    names = sorted(declared())
    here = {"DATA_DIR": str(tmp_path)}
    code = f"import sys; {ALL}"

    unset = run("-c", code, *names, **here)
    empty = run("-c", code, *names, **dict.fromkeys(names, "") | {f"{name}_FILE": "" for name in names} | here)
    blank = run("-c", code, *names, **dict.fromkeys(names, " ") | here)

    assert (unset.returncode, unset.stderr) == (0, "")
    assert (empty.stdout, empty.stderr) == (unset.stdout, "")
    assert (blank.stdout, blank.stderr) == (unset.stdout, "")


VISIT = """
import json, django
django.setup()
from django.test import Client
visitor = Client(headers={"Host": "localhost"})
for headers in ({}, {"X-Forwarded-Proto": "https"}):
    api, login = (visitor.get(path, headers=headers) for path in ("/api/", "/admin/login/"))
    print(json.dumps([
        api.status_code,
        api.headers.get("Location") or api.json()["fizzbuzz"],
        api.headers.get("Strict-Transport-Security"),
        [bool(cookie["secure"]) for cookie in login.cookies.values()],
    ]))
"""


def visits(**variables: str) -> list[object]:
    """Visit by http, and by https according to a proxy. Return status, location, HSTS, and which cookies are secure."""
    visit = run("-c", VISIT, DJANGO_SETTINGS_MODULE="tests.settings", **SERVER, **variables)
    return [json.loads(line) for line in visit.stdout.splitlines()]


def test_https_redirects_secures_cookies_and_trusts_the_proxy() -> None:
    assert visits(HTTPS="1") == [
        [301, "https://localhost/api/", None, []],
        [200, "https://localhost/api/fizzbuzz", "max-age=31536000", [True]],
    ]


def test_http_sets_no_hsts_and_ignores_the_proxy_header() -> None:
    assert visits() == [[200, "http://localhost/api/fizzbuzz", None, [False]]] * 2


LOADED = """
import sys
from fizzbuzz_site.wsgi import application
print(*(name in sys.modules for name in ("fizzbuzz_site.http.rate_limit", "limits", "redis")))
"""


def test_disabled_rate_limit_is_not_imported() -> None:
    limit = {"RATE_LIMIT": "600/minute", "REDIS_URL": "redis://localhost"}

    assert run("-c", LOADED, **SERVER).stdout == "False False False\n"
    assert run("-c", LOADED, **SERVER, **limit).stdout == "True True True\n"


def test_feedback_url_is_the_contact_of_the_openapi_document() -> None:
    document = run("manage.py", "spectacular", "--format", "openapi-json", FEEDBACK_URL="https://example.com", **SERVER)

    assert json.loads(document.stdout)["info"]["contact"] == {"name": "Feedback", "url": "https://example.com"}
