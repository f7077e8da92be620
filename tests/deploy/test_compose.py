"""Checks of docker-compose.yml and the files that it mounts, without Docker."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from fizzbuzz_site import environment
from tests.service import ROOT
from tests.test_configuration import declared

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GIVEN_BY_THE_OPERATOR = {"tls_certificate", "tls_key"}
# Images whose default user is unprivileged.
UNPRIVILEGED = {"fizzbuzz", "prom/prometheus:v3.4.0", "grafana/grafana:12.0.0", "grafana/loki:3.5.0"}


def test_image_is_built_by_one_service_before_those_that_use_it() -> None:
    for name, service in SERVICES.items():
        if service.get("image") == "fizzbuzz":
            builder = name in {"migrate", "migrate-citus"}
            assert ("build" in service) is builder, name
            assert builder or {*service["depends_on"]} & {"migrate", "migrate-citus"}, name
            assert builder or service["pull_policy"] == "never", name


def test_no_service_depends_on_one_of_another_profile() -> None:
    for name, service in SERVICES.items():
        for dependency in service.get("depends_on", {}):
            assert SERVICES[dependency].get("profiles", service.get("profiles")) == service.get("profiles"), name


def test_each_container_is_unprivileged_limited_and_restarted() -> None:
    privileged = set()
    for name, service in SERVICES.items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["deploy"]["resources"]["limits"]["memory"]
        once = name in {"migrate", "migrate-citus", "citus-setup"}
        assert service["restart"] == ("no" if once else "unless-stopped")
        assert service["healthcheck"].get("disable", False) is once
        if service.get("user", "root") == "root" and service.get("image") not in UNPRIVILEGED:
            privileged.add(name)

    assert privileged == {"pgbouncer", "alloy"}  # pgbouncer's Dockerfile sets a user; alloy needs Docker's socket
    assert "USER 10001:10001" in (ROOT / "deploy/pgbouncer/Dockerfile").read_text()


def make_secrets(folder: Path) -> dict[str, str]:
    (folder / "deploy").mkdir(exist_ok=True)
    subprocess.run(["sh", shutil.copy(ROOT / "deploy/make-secrets.sh", folder / "deploy")], check=True)
    return {each.name: each.read_text() for each in (folder / "secrets").iterdir()}


def test_secrets_are_created_by_the_script_or_the_operator(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    used = [each for service in SERVICES.values() for each in service.get("secrets", [])]

    assert make_secrets(tmp_path) == made
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert set(COMPOSE["secrets"]) == set(made) | GIVEN_BY_THE_OPERATOR
    assert set(COMPOSE["secrets"]) == {each if isinstance(each, str) else each["source"] for each in used}
    assert all(source == {"file": f"secrets/{name}"} for name, source in COMPOSE["secrets"].items())
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", made["database_password"])
    assert made["database_url"] == f"postgresql://fizzbuzz:{made['database_password']}@db/fizzbuzz"
    assert len({made[name] for name in ("secret_key", "database_password", "postgres_password", "metrics_token")}) == 4


def test_password_of_ones_own_is_encoded(tmp_path: Path) -> None:
    password = """ p/a#s%s"w\\o@r:d?'$(x) é"""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/database_password").write_bytes(f"\ufeff{password}\r\n".encode())

    made = make_secrets(tmp_path)

    assert made["database_password"] == password
    for name in ("database_url", "pgbouncer_url", "citus_url"):
        assert environment.database(made[name])["PASSWORD"] == password
    assert made["pgbouncer_users"] == '"fizzbuzz" "{}"\n'.format(password.replace('"', '""'))


def test_mounted_files_exist_and_variables_are_settings() -> None:
    variables = {f"{name}_FILE" for name in declared()} | set(declared())
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source.startswith("/") or source in COMPOSE["volumes"] or (ROOT / source).exists(), (name, source)
        if service.get("image") == "fizzbuzz":
            assert set(service["environment"]) <= variables


def test_configuration_files_name_the_services() -> None:
    def read(path: str) -> str:
        return (ROOT / "deploy" / path).read_text()

    (job,) = yaml.safe_load(read("prometheus/prometheus.yml"))["scrape_configs"]
    sources = read("grafana/provisioning/datasources/datasources.yml")
    hosts = re.findall(r"http://(\w+):", read("alloy/config.alloy") + sources)

    assert set(job["dns_sd_configs"][0]["names"]) == {name for name in SERVICES if name.startswith("web")}
    assert re.findall(r"'([\w-]+)'", read("citus/add-workers.sql")) == ["citus", "citus-worker-1", "citus-worker-2"]
    assert set(hosts) == {"loki", "prometheus"} <= set(SERVICES)
