"""The commands of docs/deployment.md and docs/runbook.md for Compose, in order, on one deployment."""

import json
from collections.abc import Iterator

import pytest

from tests.clients import submitting
from tests.deploy.documents import blocks, of_chapter, type_in
from tests.deploy.engine import ENVIRONMENT, Deployment, copy_checkout, deploying, needs_engine
from tests.deploy.test_containers import answer, compare, killing
from tests.service import eventually

pytestmark = needs_engine
DOCUMENT = "docs/deployment.md"
SMALL, BIG = "http://127.0.0.1:8080", "https://localhost"
READY = '{"status": "ok"'


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Nothing but a checkout, in which the tests of this module run the commands one after the other."""
    with deploying(copy_checkout(tmp_path_factory.mktemp("checkout"))) as deployment:
        yield deployment


def run(deployment: Deployment, commands: str, **environment: str) -> str:
    return type_in(commands, deployment.folder, ENVIRONMENT | environment)


def counts(url: str) -> dict[int, int]:
    return {each["number"]: each["count"] for each in json.loads(answer(f"{url}/api/most_common")[1])}


def test_small_server(deployment: Deployment) -> None:
    start, configure = of_chapter(DOCUMENT, "A small server in ten minutes")

    assert READY in run(deployment, start)
    assert answer(f"{SMALL}/api/fizzbuzz", 15)[0] == 201
    run(deployment, configure)


def test_runbook(deployment: Deployment) -> None:
    for block in blocks("docs/runbook.md"):
        run(deployment, block.commands)


def test_big_server(deployment: Deployment) -> None:
    start, renew = of_chapter(DOCUMENT, "A big server in an hour")

    assert READY in run(deployment, start)
    run(deployment, renew)
    (deployment.folder / ".env").write_text("ALLOWED_HOSTS=localhost\n")
    killing(deployment, "web-1", "pgbouncer", "web-2", "nginx", "cache")
    assert counts(BIG) == {15: 1}
    redirected = run(
        deployment, "curl --silent --include --header 'Host: localhost:8000' 'http://127.0.0.1/stats?window=day'"
    )
    assert "Location: https://localhost/stats?window=day\n" in redirected


def test_prometheus_finds_the_instances(deployment: Deployment) -> None:
    (start,) = of_chapter(DOCUMENT, "Watch it")

    def up() -> list[str]:
        found = json.loads(answer("http://127.0.0.1:9090/api/v1/query?query=up")[1])["data"]["result"]
        return [each["value"][1] for each in found]

    assert "ready" in run(deployment, start).lower()
    assert eventually(lambda: up() == ["1", "1"]), up()


def test_upgrade_refuses_no_request(deployment: Deployment) -> None:
    (upgrade,) = of_chapter(DOCUMENT, "Upgrade without downtime")
    with deployment.database() as database:  # a ledger compares all rows
        database.execute("TRUNCATE fizzbuzz_submission, fizzbuzz_numbercount, fizzbuzz_minutecount")
    with submitting(lambda: BIG, "upgrade", 4, form=0) as ledger:
        run(deployment, upgrade, REVISION="next")

    assert all("REVISION=next" in deployment.inspect(name)["Config"]["Env"] for name in ("web-1", "web-2"))
    # A reloaded nginx closes its idle connections, on which a request may just be under way.
    assert {*ledger.outcomes} <= {"201", "201 replayed", "connection lost"}
    compare(deployment, ledger)


def test_backup_is_restored(deployment: Deployment) -> None:
    backup, restore, *_ = of_chapter(DOCUMENT, "Back up and restore")
    before = counts(BIG)
    run(deployment, backup)
    answer(f"{BIG}/api/fizzbuzz", 15)

    assert "All counts match the log." in run(deployment, restore)
    assert eventually(lambda: {answer(f"{BIG}/health")[0] for _ in range(8)} == {200})  # both instances
    assert counts(BIG) == before
