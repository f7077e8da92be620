"""A container engine, and deployments on it. `.ci/engine` starts one where none answers."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deploy.documents import type_in
from tests.service import ROOT, eventually

# With a project of its own, so that a real deployment on this machine is left alone.
ENVIRONMENT = {**os.environ, "COMPOSE_PROJECT_NAME": "fizzbuzz-test", "DOCKER_BUILDKIT": "1"}


def _answers() -> bool:
    listed = ["docker", "compose", "ls"]
    return bool(shutil.which("docker")) and subprocess.run(listed, capture_output=True, check=False).returncode == 0


needs_engine = [
    pytest.mark.containers,
    pytest.mark.slow,
    pytest.mark.skipif(not _answers(), reason="needs a container engine with Compose: .ci/engine COMMAND starts one"),
]


def docker(*arguments: str, cwd: Path = ROOT) -> str:
    """Run `docker`, which must succeed, and return its standard output without the last line break."""
    done = subprocess.run(["docker", *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def copy_checkout(folder: Path) -> Path:
    """Copy this checkout's files, with changes that are not committed, as a clone would have them."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    folder.chmod(0o755)  # pytest's are closed to other users
    return folder


class Deployment(NamedTuple):
    """A folder with a checkout, from which Compose deploys."""

    folder: Path

    def run(self, commands: str, **environment: str) -> str:
        return type_in(commands, self.folder, ENVIRONMENT | environment)

    def compose(self, *arguments: str) -> str:
        return docker("compose", "--profile=*", *arguments, cwd=self.folder)

    def inspect(self, service: str) -> Any:
        """Return what the engine knows about the container of the service, which may have ended."""
        return json.loads(docker("inspect", self.compose("ps", "--all", "--quiet", service)))[0]

    def is_healthy(self, service: str, not_pid: int = 0) -> bool:
        """Return whether the service runs and is healthy, with another process 1 than this."""
        state: dict[str, Any] = self.inspect(service)["State"]
        return (state["Status"], state["Health"]["Status"]) == ("running", "healthy") and state["Pid"] != not_pid

    def kill(self, *services: str) -> None:
        """Send SIGKILL to process 1 of each of these services, as the kernel does; return when others are healthy."""
        before = {name: self.inspect(name)["State"]["Pid"] for name in services}
        kill = f"kill -9 {' '.join(map(str, before.values()))}"  # `docker kill` would prevent a restart
        rights = ("--pid=host", "--security-opt=apparmor=unconfined")
        docker("run", "--rm", *rights, "debian:trixie-slim", "sh", "-c", kill)
        for name, pid in before.items():
            assert eventually(partial(self.is_healthy, name, not_pid=pid)), name

    def database_url(self, password: str = "") -> str:
        (network,) = self.inspect("db")["NetworkSettings"]["Networks"].values()
        password = password or (self.folder / "secrets/database_password").read_text()
        return f"postgresql://fizzbuzz:{password}@{network['IPAddress']}/fizzbuzz"


@contextmanager
def deploying(folder: Path) -> Iterator[Deployment]:
    """Let tests deploy from the folder. All that was deployed is removed at the end."""
    deployment = Deployment(folder)
    try:
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--remove-orphans", "--timeout=1")
