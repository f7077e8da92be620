"""Settings: documentation, valid and invalid values, files of secrets, the generated secret key."""

import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import traceback
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

from fizzbuzz_site import environment
from fizzbuzz_site.management.commands.serve import Command
from tests.service import ROOT, SECRET_KEY, manage

SERVER = {"DATABASE_URL": "postgresql://nobody@localhost/nowhere", "SECRET_KEY": SECRET_KEY}


def declared() -> dict[str, str]:
    """Return the settings, with their defaults as in documentation."""
    return {
        name: "" if default in ("", None, [], {}) else str(default) for name, default in environment.declared.items()
    }


def load(**variables: str) -> dict[str, Any]:
    """Return the settings with only these environment variables."""
    with patch.dict(os.environ, variables, clear=True):
        return runpy.run_path(str(ROOT / "fizzbuzz_site/settings.py"))


def test_documentation_lists_every_variable_with_its_default() -> None:
    text = (ROOT / "docs/configuration.md").read_text()

    assert dict(re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? *\|", text, re.MULTILINE)) == declared()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", " 80 ", 80),
        ("DEBUG", "TRUE", True),
        ("HTTPS", "off", False),
        ("LOG_LEVEL", "INFO", "info"),
        ("LOG_LEVEL", "Warning", "warning"),
        ("ALLOWED_HOSTS", "Example.org, .example.com,127.0.0.1,", ["Example.org", ".example.com", "127.0.0.1"]),
        ("ALLOWED_HOSTS", "::1,[2001:DB8:0::1],*", ["[::1]", "[2001:db8::1]", "*"]),
        ("TRUSTED_PROXIES", "127.0.0.1,fd00::/8", [ip_network("127.0.0.1"), ip_network("fd00::/8")]),
        ("CORS_ORIGINS", "*", ["*"]),
        ("CORS_ORIGINS", "HTTPS://A.org:443,http://b:3000", ["https://a.org", "http://b:3000"]),
        ("CORS_ORIGINS", "http://[::1]:80", ["http://[::1]"]),
        ("REDIS_URL", "rediss://user:p%40%2F@host:6379/0", "rediss://user:p%40%2F@host:6379/0"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("RATE_LIMIT", "600/minute", (600, 60)),
        ("RATE_LIMIT", "50/10 Seconds", (50, 10)),
        ("RATE_LIMIT", "5 per 2 hours", (5, 7200)),
        ("RATE_LIMIT", "1 / day", (1, 86_400)),
        ("METRICS_TOKEN", "a token!", "a token!"),
        ("FEEDBACK_URL", "mailto:team@example.org", "mailto:team@example.org"),
        ("FEEDBACK_URL", "https://example.org/a?b#c", "https://example.org/a?b#c"),
    ],
)
def test_valid_value_is_read(name: str, value: str, expected: object) -> None:
    assert load(**SERVER | {"REDIS_URL": "redis://localhost"} | {name: value})[name] == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%40%2F%25@h/d", {"NAME": "d", "USER": "u", "PASSWORD": "p@/%", "HOST": "h", "PORT": ""}),
        ("postgresql://u:p#?[:é@h/d", {"NAME": "d", "USER": "u", "PASSWORD": "p#?[:é", "HOST": "h", "PORT": ""}),
        ("postgresql://a,[::1]:2/d", {"NAME": "d", "USER": "", "PASSWORD": "", "HOST": "a,::1", "PORT": ",2"}),
        ("postgresql:///d?host=/run/a", {"NAME": "d", "USER": "", "PASSWORD": "", "HOST": "/run/a", "PORT": ""}),
    ],
)
def test_database_url_is_read_as_by_libpq(url: str, expected: dict[str, str]) -> None:
    parameters = environment.database(url)

    assert {name: parameters[name] for name in expected} == expected
    assert parameters["OPTIONS"]["connect_timeout"] == 2


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PORT", ["http", "65536", "-1", "8_0", "٣", "9" * 5000]),
        ("WEB_CONCURRENCY", ["0", "1.5", "10000"]),
        ("DATABASE_POOL_SIZE", ["0", "1", "2"]),
        ("DEBUG", ["maybe", "2"]),
        ("ALLOWED_HOSTS", ["https://hush", "hush:80", "hush/", '"hush"', "['hush']", "a hush", "*.hush", "hush."]),
        ("ALLOWED_HOSTS", ["hush_1", "[hush]", "[10.0.0.1]", "hüsh.org", "::1/64"]),
        ("TRUSTED_PROXIES", ["10.0.0.0/8,hush", "10.0.0.1/8", "[::1]"]),
        ("RATE_LIMIT", ["600 a minute", "600/minute;hush", "600/minute;10/hour", "0/minute", "1/367 days", "1/0 s"]),
        ("REDIS_URL", ["hush:6379", "//hush", "http://hush", "redis://", "redis://:hu/sh@h", "redis://u:1?hush@h"]),
        ("REDIS_URL", ["redis://:hu#sh@h", "redis://h:hush", "redis://h/hush", "unix://"]),
        ("CORS_ORIGINS", ["https://a,hush", "*,https://hush", "https://hush/", "https://u@hush", "https://hush:"]),
        ("CORS_ORIGINS", ["ftp://hush", "https://hüsh", "null", '"*']),
        ("METRICS_TOKEN", ["hüsh", "hu\nsh", "hush\x7f", "\u202ehush"]),
        ("SECRET_KEY", ["hush", "hush" * 20, "hush" * 9 + "\udcff"]),
        ("LOG_LEVEL", ["debug", "hush", "['info']"]),
        ("FEEDBACK_URL", ["javascript:hush()", "hush", "//hush", "https://", "mailto:hush", 'https://h/" hush']),
        ("DATABASE_URL", ["mysql://u:hush@h/d", "hush", "host=h password=hush", "postgresql://"]),
        ("DATABASE_URL", [f"postgresql://u:{each}@h/d" for each in ("hu@sh", "12/hush", "hu%sh", "hu sh", "hu\nsh")]),
        ("DATABASE_URL", [f"postgresql://u:hush@{rest}" for rest in ("", "h", "h/", "h:x/d", "h:/d/e", "h:1:2/d")]),
        ("DATABASE_URL", [f"postgresql://u:hush@h/d?{each}" for each in ("a=b", "x", "connect_timeout=a", "user=%z")]),
    ],
)  # fmt: skip
def test_invalid_value_ends_the_start_with_one_line_that_names_the_variable(name: str, values: list[str]) -> None:
    for value in [*values, f'"{values[0]}"', f"'{SECRET_KEY}'"]:
        with pytest.raises(ImproperlyConfigured) as error:
            load(**SERVER | {name: value})

        shown = "".join(traceback.format_exception(error.value))
        assert re.fullmatch(rf"{name} is invalid: (write .+|remove the quotes around it)\.", str(error.value)), value
        assert not re.search("hush|hu.sh|" + SECRET_KEY, shown, re.DOTALL), value


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DATABASE_URL": SERVER["DATABASE_URL"]}, "SECRET_KEY is required with DATABASE_URL, and the same for all "),
        (SERVER | {"RATE_LIMIT": "1/minute"}, "REDIS_URL is required with RATE_LIMIT, to count for all processes: "),
        ({"DATA_DIR": "/proc/nowhere"}, "The data folder /proc/nowhere can't be used (No such file or directory): set"),
    ],
)
def test_unusable_combination_is_rejected(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(message)}"):
        load(**variables)


def test_manage_reports_a_setting_in_one_line() -> None:
    check = manage("check", **SERVER, LOG_LEVEL="all")

    assert check.communicate() == ("", "error: LOG_LEVEL is invalid: write one of info, warning, error.\n")
    assert check.returncode == 1


@pytest.mark.parametrize("host", ["http://localhost", "no host", "a" * 64 + ".example"])
def test_invalid_host_raises_command_error(settings: Any, host: str) -> None:
    settings.HOST = host

    with pytest.raises(CommandError, match=r"^HOST is invalid: write an IP address of this machine, 0\.0\.0\.0 for"):
        Command()._listen()


def test_value_is_read_from_a_file(tmp_path: Path) -> None:
    for content in (SECRET_KEY, SECRET_KEY + "\n", "\ufeff" + SECRET_KEY + "\r\n"):
        (tmp_path / "key").write_bytes(content.encode())
        assert load(**SERVER | {"SECRET_KEY_FILE": str(tmp_path / "key")})["SECRET_KEY"] == SECRET_KEY


def test_unusable_file_is_rejected(tmp_path: Path) -> None:
    reasons = {"/nowhere/key": "readable file (No such file or directory)", "/": "readable file (Is a directory)"}
    for encoding in ("utf-16", "utf-16-le", "utf-32", "latin-1"):
        (tmp_path / encoding).write_bytes(f"é{SECRET_KEY}".encode(encoding))
        reasons[str(tmp_path / encoding)] = "text file in UTF-8"

    for path, reason in reasons.items():
        with pytest.raises(ImproperlyConfigured) as error:
            load(**SERVER | {"SECRET_KEY_FILE": path})
        assert str(error.value) == f"SECRET_KEY_FILE must be the path of a {reason}."


def test_secret_key_is_generated_once_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    first, second = (load(DATA_DIR=str(tmp_path / "var"))["SECRET_KEY"] for _ in range(2))

    kept = tmp_path / "var" / "secret_key"
    assert first == second == kept.read_text()
    assert (len(first), stat.S_IMODE(kept.stat().st_mode)) == (50, 0o600)
    assert [each.name for each in kept.parent.iterdir()] == ["secret_key"]


@pytest.mark.parametrize("left", [b"", b"\0" * 50], ids=["empty", "zeros"])
def test_secret_key_emptied_by_a_power_failure_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: bytes
) -> None:
    kept = tmp_path / "secret_key"
    kept.write_bytes(left)

    key = load(DATA_DIR=str(tmp_path))["SECRET_KEY"]

    warning = f"warning: {kept} was empty. A new key was created: all users must log in again\n"
    assert capsys.readouterr().err == warning
    assert key == kept.read_text()
    assert (len(key), stat.S_IMODE(kept.stat().st_mode)) == (50, 0o600)


def test_secret_key_is_durable_before_it_is_used(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is missing")
    trace = ["strace", "-f", "-o", str(tmp_path / "trace"), "-e", "trace=fsync,link,linkat,flock"]
    # Without Python's cache, and a variable that would measure coverage: both write files of their own.
    variables = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "var"), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "from fizzbuzz_site import settings"

    subprocess.run([*trace, sys.executable, "-c", code], cwd=ROOT, env=variables, check=True)

    assert re.findall(r"(fsync|link|flock)\w*\(", (tmp_path / "trace").read_text()) == ["fsync", "link", "fsync"]


def test_empty_variables_count_as_unset(tmp_path: Path) -> None:
    names = environment.declared.keys() - {"DATABASE_URL", "DATA_DIR"}
    empty = dict.fromkeys(names, "") | {f"{name}_FILE": "" for name in environment.declared}

    unset, *others = (load(DATA_DIR=str(tmp_path), **variables) for variables in ({}, empty, dict.fromkeys(names, " ")))

    for name in names:
        assert [each[name] for each in others] == [unset[name]] * 2


def test_feedback_url_is_the_contact_of_the_openapi_document() -> None:
    loaded = load(FEEDBACK_URL="https://example.com", **SERVER)
    assert loaded["SPECTACULAR_SETTINGS"]["CONTACT"] == {"name": "Feedback", "url": "https://example.com"}
