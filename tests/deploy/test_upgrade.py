"""A volume of the release before is upgraded by the commands of docs/deployment.md."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.documents import of_chapter, type_in
from tests.deploy.engine import ENVIRONMENT, copy_checkout, deploying, needs_engine
from tests.deploy.test_containers import RIGHTS, address, answer, counts
from tests.proxy import free_port
from tests.service import ROOT, eventually
from tests.serving.test_rolling_upgrade import PREVIOUS_RELEASE

pytestmark = needs_engine


def test_volume_of_the_release_before_is_upgraded(tmp_path: Path) -> None:
    archive = subprocess.run(["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"needs the project's history to get the previous release: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", tmp_path], input=archive.stdout, check=True)
    (tmp_path / ".env").write_text(f"SECRET_KEY=of-a-test-of-an-upgrade-of-the-release-before\nPORT={free_port()}\n")
    (upgrade,) = of_chapter("docs/deployment.md", "From version 0.1.0")
    with deploying(tmp_path) as deployment:
        deployment.up()
        assert eventually(lambda: answer(f"{address(deployment)}/api/fizzbuzz", 15)[0] == 201)
        copy_checkout(tmp_path)
        type_in(upgrade, tmp_path, ENVIRONMENT)

        assert eventually(lambda: deployment.is_healthy("web"))
        assert answer(f"{address(deployment)}/api/fizzbuzz", 15)[0] == 201
        assert counts(deployment) == {15: 2}
        with deployment.database() as database:
            assert database.execute(RIGHTS).fetchone() == (False, False, False, False, False)
