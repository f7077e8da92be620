"""docs/deployment.md and docs/runbook.md for Compose: their commands, in order, on one deployment; what it promises.

The profile citus and Grafana, Loki and Alloy are not tried: their images have no stand-in (.ci/stand-ins/Dockerfile).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.clients import Ledger, submitting
from tests.deploy.documents import blocks, of_chapter
from tests.deploy.engine import Deployment, copy_checkout, deploying, docker, needs_engine
from tests.proxy import free_port
from tests.service import SECRET_KEY, eventually, manage, send, start
from tests.serving.test_rolling import extract_previous_release

pytestmark = needs_engine
DOCUMENT = "docs/deployment.md"
SMALL, BIG = "http://127.0.0.1:8080", "https://localhost"
PROXIED = {"Host": "fizzbuzz.example", "X-Forwarded-Proto": "https"}
PASSWORD = "of-the-release-before"
READY = '{"status": "ok"'
RIGHTS = """
    SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user
"""
# The user and group, the program and the rights of process 1, the folders to which it may write.
SHOW = """
    id -u; id -g
    grep -aom 1 gunicorn /proc/1/cmdline | head -n 1
    grep -E '^(Cap|NoNewPrivs)' /proc/1/status | cut -f 2 | sort -u
    for folder in / /app /venv /tmp; do if touch $folder/x 2> /dev/null; then echo $folder; fi; done
"""
EMPTY = "TRUNCATE fizzbuzz_submission, fizzbuzz_numbercount, fizzbuzz_minutecount, fizzbuzz_idempotencykey"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Nothing but a checkout, in which the tests of this module run the commands one after the other."""
    with deploying(copy_checkout(tmp_path_factory.mktemp("checkout"))) as deployment:
        yield deployment


def counts(url: str, **headers: str) -> dict[int, int]:
    return {each["number"]: each["count"] for each in send(f"{url}/api/most_common", **headers).json()}


def has_no_rights(deployment: Deployment) -> bool:
    with psycopg.connect(deployment.database_url()) as database:
        return database.execute(RIGHTS).fetchone() == (False,) * 5


@contextmanager
def under_load(deployment: Deployment, url: str) -> Iterator[Ledger]:
    """Let clients submit during the block; then compare the log with what they got, and the counts with the log."""
    with psycopg.connect(deployment.database_url()) as database:  # a ledger compares all rows
        database.execute(EMPTY)
    with submitting(lambda: url, "containers", 4, form=0) as ledger:
        yield ledger
    database_url = deployment.database_url()  # a restarted container may have another address
    with psycopg.connect(database_url) as database:
        assert ledger.compare(database) == []
    assert ledger.acknowledged > 100
    verified = manage("top_numbers", "--verify", DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY).communicate()
    assert verified == ("All counts match the log.\n", "")


def test_volume_of_the_release_before_is_upgraded(tmp_path: Path) -> None:
    extract_previous_release(tmp_path)
    url = f"http://127.0.0.1:{(port := free_port())}"
    (tmp_path / ".env").write_text(f"PORT={port}\n")
    (upgrade,) = of_chapter(DOCUMENT, "From version 0.1.0")
    with deploying(tmp_path) as deployment:  # it is gone before the one of the other tests starts
        # Its image is not built: its code runs here.
        deployment.run("docker compose up --detach --wait db", POSTGRES_PASSWORD=PASSWORD)
        database_url = deployment.database_url(PASSWORD)
        environment = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}
        assert start(["migrate", "--verbosity=0"], environment, code=tmp_path).communicate() == ("", "")
        with psycopg.connect(database_url) as database:
            database.execute("INSERT INTO fizzbuzz_submission (number) VALUES (15)")
        copy_checkout(tmp_path)
        deployment.run(upgrade)

        assert eventually(lambda: deployment.is_healthy("web"))
        assert send(f"{url}/api/fizzbuzz", {"number": 15}).status == 201
        assert counts(url) == {15: 2}
        assert has_no_rights(deployment)


def test_small_server(deployment: Deployment) -> None:
    (up, _) = of_chapter(DOCUMENT, "A small server in ten minutes")

    assert READY in deployment.run(up)
    assert has_no_rights(deployment)


def test_image_is_small_and_compiled(deployment: Deployment) -> None:
    layers = docker("history", "--human=false", "--format={{.Size}} {{.CreatedBy}}", "fizzbuzz").splitlines()
    ours = [int(layer.split()[0]) for layer in layers if "COPY /venv" in layer or "COPY /app" in layer]
    count = 'for suffix in py pyc; do find . -name "*.$suffix" | wc -l; done'
    sources, compiled = docker("run", "--rm", "fizzbuzz", "sh", "-c", count).split()

    assert len(ours) == 2
    assert sum(ours) < 90_000_000  # beside the base image
    assert sources == compiled


def test_process_1_is_gunicorn_without_rights(deployment: Deployment) -> None:
    shown = deployment.compose("exec", "-T", "web", "sh", "-c", SHOW).split()

    assert shown == ["10001", "10001", "gunicorn", f"{0:016x}", "1", "/tmp"]  # noqa: S108


def test_health_check_tells_whether_it_answers(deployment: Deployment) -> None:
    check = deployment.inspect("web")["Config"]["Healthcheck"]["Test"]

    docker("exec", deployment.compose("ps", "--quiet", "web"), *check[1:])
    with pytest.raises(AssertionError, match="ConnectionRefusedError"):
        docker("run", "--rm", "fizzbuzz", *check[1:])


def test_killed_containers_are_restarted_and_lose_nothing(deployment: Deployment) -> None:
    with under_load(deployment, SMALL) as ledger:
        deployment.kill("web", "db", "cache")
        more = ledger.acknowledged + 100
        assert eventually(lambda: ledger.acknowledged > more)


def test_volumes_are_kept_settings_come_from_env_and_secrets_are_files(deployment: Deployment) -> None:
    (_, configure) = of_chapter(DOCUMENT, "A small server in ten minutes")
    before = counts(SMALL)
    deployment.compose("stop", "--timeout=8", "web")  # it would be killed then
    assert deployment.inspect("web")["State"]["ExitCode"] == 0
    deployment.compose("down")
    deployment.run(configure)
    assert eventually(lambda: deployment.is_healthy("web"))

    assert counts(SMALL, **PROXIED) == before != {}
    answer = send(f"{SMALL}/api/fizzbuzz", {"number": 15}, **PROXIED)
    assert (answer.status, answer.headers["RateLimit-Policy"]) == (201, '"default";q=600;w=60')
    secrets = {path.name: path.read_text() for path in (deployment.folder / "secrets").iterdir()}
    tokens = ["of someone", secrets["metrics_token"]]
    assert [send(f"{SMALL}/metrics", Authorization=f"Bearer {token}").status for token in tokens] == [401, 200]
    shown = "".join(json.dumps(deployment.inspect(name)) for name in ("db", "web"))
    assert [name for name, value in secrets.items() if value in shown] == []


def test_runbook(deployment: Deployment) -> None:
    for _, _, commands in blocks("docs/runbook.md"):
        deployment.run(commands)


def test_big_server(deployment: Deployment) -> None:
    up, renew = of_chapter(DOCUMENT, "A big server in an hour")

    assert READY in deployment.run(up)
    deployment.run(renew)
    before = counts(BIG)
    deployment.kill("web-1", "pgbouncer", "web-2", "nginx", "cache")
    assert counts(BIG) == before != {}
    redirected = deployment.run(
        "curl --silent --include --header 'Host: localhost:8000' 'http://127.0.0.1/stats?window=day'"
    )
    assert "Location: https://localhost/stats?window=day\n" in redirected
    closed = send(f"{BIG}/metrics")  # by nginx itself
    assert (closed.status, closed.headers["Strict-Transport-Security"]) == (403, "max-age=31536000")


def test_prometheus_finds_the_instances(deployment: Deployment) -> None:
    (up,) = of_chapter(DOCUMENT, "Watch it")

    assert "ready" in deployment.run(up).lower()
    assert eventually(lambda: '"2"]' in send("http://127.0.0.1:9090/api/v1/query?query=sum(up)").body)


def test_upgrade_refuses_no_request(deployment: Deployment) -> None:
    (upgrade,) = of_chapter(DOCUMENT, "Upgrade without downtime")
    with under_load(deployment, BIG) as ledger:
        deployment.run(upgrade, REVISION="next")

    assert all("REVISION=next" in deployment.inspect(name)["Config"]["Env"] for name in ("web-1", "web-2"))
    # A reloaded nginx closes its idle connections, on which a request may just be under way.
    assert {*ledger.outcomes} <= {"201", "201 replayed", "connection lost"}


def test_backup_is_restored(deployment: Deployment) -> None:
    backup, restore, *_ = of_chapter(DOCUMENT, "Back up and restore")
    before = counts(BIG)
    deployment.run(backup)
    send(f"{BIG}/api/fizzbuzz", {"number": 15})

    assert "All counts match the log." in deployment.run(restore)
    assert eventually(lambda: {send(f"{BIG}/health").status for _ in range(8)} == {200})  # both instances
    assert counts(BIG) == before
