"""The small server without Docker: the commands of docs/deployment.md, in a container with systemd as process 1."""

import json
from collections.abc import Iterator

import pytest

from tests.deploy.documents import of_chapter
from tests.deploy.engine import copy_checkout, docker, needs_engine
from tests.service import eventually

pytestmark = needs_engine
CHAPTER = of_chapter("docs/deployment.md", "A small server without Docker, in ten minutes")
INSTALL = """
apt-get update && apt-get install --yes --no-install-recommends mount passwd systemd-sysv util-linux
touch /installed
"""
# systemd mounts, and needs a hierarchy of control groups that it may write to.
RIGHTS = ["--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined", "--security-opt=seccomp=unconfined"]
START = """
until [ -e /installed ]; do sleep 0.2; done
umount --recursive /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec /sbin/init
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh Debian with a checkout at /opt/fizzbuzz, where the first commands were run."""
    options = ["--detach", "--tmpfs=/run", "--tmpfs=/run/lock", "--env=container=docker", *RIGHTS]
    machine = docker("run", *options, "python:3.13-slim", "sh", "-c", START)
    try:
        docker("cp", f"{copy_checkout(tmp_path_factory.mktemp('checkout'))}/.", f"{machine}:/opt/fizzbuzz")
        run(machine, INSTALL)
        assert eventually(lambda: "running" in run(machine, "systemctl is-system-running || true"))
        run(machine, CHAPTER[0])
        yield machine
    finally:
        docker("rm", "--force", "--volumes", machine)


def run(machine: str, commands: str) -> str:
    """Run the commands as root in the checkout; they must all succeed."""
    return docker("exec", "--workdir=/opt/fizzbuzz", machine, "bash", "-euo", "pipefail", "-c", commands)


def show(machine: str, *properties: str) -> list[str]:
    return run(machine, f"systemctl show --property={','.join(properties)} fizzbuzz-serve").splitlines()


def submit(machine: str) -> int:
    """Submit a number, and return the id of its row."""
    post = "--header 'Content-Type: application/json' --data '{\"number\": 15}' http://127.0.0.1:8080/api/fizzbuzz"
    return int(json.loads(run(machine, f"curl --silent --fail {post}"))["id"])


def test_units_are_valid_and_hardened(machine: str) -> None:
    exposure = run(machine, "systemd-analyze security --no-pager fizzbuzz-serve.service | tail -1")

    assert run(machine, "systemd-analyze verify deploy/systemd/*.service deploy/systemd/*.timer 2>&1") == ""
    assert float(exposure.split()[-3]) < 2, exposure  # of 10


def test_service_is_ready_when_systemd_says_so_and_restarted_when_killed(machine: str) -> None:
    assert submit(machine)
    assert show(machine, "Type", "User") == ["Type=notify", "User=fizzbuzz"]
    assert "fizzbuzz-backup.timer" in run(machine, "systemctl list-timers --no-pager")
    run(machine, "systemctl kill --signal=KILL --kill-whom=main fizzbuzz-serve")

    assert eventually(lambda: show(machine, "NRestarts", "ActiveState") == ["NRestarts=1", "ActiveState=active"])
    assert submit(machine)


def test_upgrade_reloads_the_workers(machine: str) -> None:
    main = show(machine, "MainPID")
    run(machine, CHAPTER[1])

    assert show(machine, "MainPID") == main
    assert submit(machine)


def test_backup_is_restored(machine: str) -> None:
    backup, _, restore = CHAPTER[2].partition("\n")
    run(machine, backup)
    lost = submit(machine)
    run(machine, restore)

    assert submit(machine) == lost


def test_stops_in_time_and_its_log_is_kept(machine: str) -> None:
    (keep,) = of_chapter("docs/operations.md", "The service log")
    run(machine, keep)
    run(machine, "systemctl stop fizzbuzz-serve")

    assert "FizzBuzz is at" in run(machine, "journalctl --no-pager --unit=fizzbuzz-serve")
    assert show(machine, "Result", "ExecMainStatus") == ["Result=success", "ExecMainStatus=0"]


def test_service_runs_without_make_as_the_readme_says(machine: str) -> None:
    start, submit = of_chapter("README.md", "Run it")
    *install, serve = start.splitlines()
    run(machine, "\n".join(install))  # in the unit's environment only some packages are missing
    docker("exec", "--detach", "--workdir=/opt/fizzbuzz", machine, "bash", "-c", serve)

    assert eventually(lambda: "ok" in run(machine, "curl --silent http://127.0.0.1:8080/health || true"))
    assert json.loads(run(machine, submit))["result"] == "FizzBuzz"
