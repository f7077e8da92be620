"""The image of the Dockerfile and the profiles of docker-compose.yml, in real containers.

The profile citus and Grafana, Loki and Alloy are not tried: their images have no stand-in (.ci/stand-ins/Dockerfile).
"""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial

import pytest

from tests.clients import TRUSTING, Ledger, submitting
from tests.deploy.engine import Deployment, copy_checkout, deploying, docker, needs_engine
from tests.proxy import free_port
from tests.service import TIMEOUT_SECONDS, eventually

pytestmark = needs_engine
MAX_MEGABYTES = 90  # beside the base image
RIGHTS = """
    SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The default profile, from nothing, with a port of its own."""
    folder = copy_checkout(tmp_path_factory.mktemp("checkout"))
    subprocess.run(["sh", "deploy/make-secrets.sh"], cwd=folder, check=True)
    (folder / ".env").write_text(f"PORT={free_port()}\nRATE_LIMIT=2/hour\n")
    with deploying(folder) as deployment:
        deployment.up()
        yield deployment


def address(deployment: Deployment) -> str:
    return f"http://{deployment.compose('port', 'web', '8080')}"


def answer(url: str, number: int | None = None, token: str = "") -> tuple[int, str]:
    """Return status and body of the response to a GET, or a POST of the number."""
    body = None if number is None else json.dumps({"number": number}).encode()
    request = urllib.request.Request(
        url, body, {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=TRUSTING) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def counts(deployment: Deployment) -> dict[int, int]:
    return {each["number"]: each["count"] for each in json.loads(answer(f"{address(deployment)}/api/most_common")[1])}


def killing(deployment: Deployment, *names: str) -> None:
    """Kill process 1 of each of these services; return when others answer."""
    before = {name: deployment.inspect(name)["State"]["Pid"] for name in names}
    for pid in before.values():
        deployment.kill(pid)
    for name in names:
        assert eventually(lambda: deployment.inspect(name)["State"]["Pid"] not in {0, before[name]}), name  # noqa: B023
        assert eventually(partial(deployment.is_healthy, name)), name


def compare(deployment: Deployment, ledger: Ledger) -> None:
    with deployment.database() as database:
        assert ledger.compare(database) == []
    assert ledger.acknowledged > 100
    verified = deployment.compose("run", "--rm", "migrate", "python", "manage.py", "top_numbers", "--verify")
    assert verified == "All counts match the log."


def test_image_is_small_and_compiled(deployment: Deployment) -> None:
    layers = docker("history", "--human=false", "--format={{.Size}} {{.CreatedBy}}", "fizzbuzz").splitlines()
    ours = [int(layer.split()[0]) for layer in layers if "COPY /venv" in layer or "COPY /app" in layer]
    count = 'for suffix in py pyc; do find . -name "*.$suffix" | wc -l; done'
    sources, compiled = docker("run", "--rm", "fizzbuzz", "sh", "-c", count).split()

    assert len(ours) == 2
    assert sum(ours) < MAX_MEGABYTES * 1_000_000
    assert sources == compiled


def test_process_1_is_gunicorn_without_rights(deployment: Deployment) -> None:
    def run(command: str) -> str:
        return deployment.compose("exec", "-T", "web", "sh", "-c", command)

    assert run("id -u; id -g") == "10001\n10001"
    assert "gunicorn" in run("tr '\\0' ' ' < /proc/1/cmdline")
    assert run("grep -E '^(Cap|NoNewPrivs)' /proc/1/status | cut -f2 | sort -u") == f"{0:016x}\n1"
    assert run("for f in / /app /venv /tmp; do if touch $f/x 2> /dev/null; then echo $f; fi; done") == "/tmp"  # noqa: S108


def test_health_check_tells_whether_it_answers(deployment: Deployment) -> None:
    check = deployment.inspect("web")["Config"]["Healthcheck"]["Test"]

    docker("exec", deployment.compose("ps", "--quiet", "web"), *check[1:])
    with pytest.raises(AssertionError, match="ConnectionRefusedError"):
        docker("run", "--rm", "fizzbuzz", *check[1:])


def test_secrets_are_files_and_settings_come_from_env(deployment: Deployment) -> None:
    secrets = {path.name: path.read_text() for path in (deployment.folder / "secrets").iterdir()}
    shown = [json.dumps(deployment.inspect(name)) for name in ("db", "web")]

    assert [answer(f"{address(deployment)}/api/fizzbuzz", 15)[0] for _ in range(3)] == [201, 201, 429]
    tokens = ["of someone", secrets["metrics_token"]]
    assert [answer(f"{address(deployment)}/metrics", token=token)[0] for token in tokens] == [401, 200]
    with deployment.database() as database:
        assert database.execute(RIGHTS).fetchone() == (False, False, False, False, False)
    assert [name for name, value in secrets.items() if any(value in each for each in shown)] == []


def test_a_killed_container_is_restarted_and_loses_nothing(deployment: Deployment) -> None:
    deployment.compose("down", "--volumes")
    (deployment.folder / ".env").write_text(f"PORT={free_port()}\n")
    deployment.up()
    url = address(deployment)
    with submitting(lambda: url, "containers", 4, form=0) as ledger:
        killing(deployment, "web", "db", "cache")
        more = ledger.acknowledged + 100
        assert eventually(lambda: ledger.acknowledged > more)

    compare(deployment, ledger)


def test_stops_in_time_and_volumes_are_kept(deployment: Deployment) -> None:
    before = counts(deployment)
    deployment.compose("stop", "--timeout=8", "web")  # it would be killed then
    assert deployment.inspect("web")["State"]["ExitCode"] == 0
    deployment.compose("down")
    deployment.up()

    assert counts(deployment) == before != {}
