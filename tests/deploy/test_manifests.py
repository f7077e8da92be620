"""Files for Compose and Kubernetes: references between them and to the settings. `make lint` validates the schemas."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from fizzbuzz_site import environment
from tests.service import ROOT
from tests.test_configuration import declared

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BUILDERS = {"migrate", "migrate-citus"}
# Images whose default user is unprivileged.
UNPRIVILEGED = {"fizzbuzz", "prom/prometheus:v3.4.0", "grafana/grafana:12.0.0", "grafana/loki:3.5.0"}
KUBERNETES = ROOT / "deploy/kubernetes"
RESOURCES: dict[str, Any] = {
    resource["kind"]: resource
    for resource in (yaml.safe_load(path.read_text()) for path in sorted(KUBERNETES.glob("*.yaml")))
    if resource["kind"] != "Kustomization"
}
WEB = {"app.kubernetes.io/name": "fizzbuzz", "app.kubernetes.io/component": "web"}
SECRETS = "/run/secrets/fizzbuzz"


def test_image_is_built_by_one_service_of_a_profile_before_those_that_use_it() -> None:
    for name, service in SERVICES.items():
        dependencies = service.get("depends_on", {}).keys()
        assert all(SERVICES[each].get("profiles") in (None, service.get("profiles")) for each in dependencies), name
        if service.get("image") == "fizzbuzz":
            assert ("build" in service) is (name in BUILDERS), name
            assert name in BUILDERS or (service["pull_policy"] == "never" and dependencies & BUILDERS), name


def test_each_container_is_unprivileged_limited_and_restarted() -> None:
    privileged = set()
    for name, service in SERVICES.items():
        once = name in {*BUILDERS, "citus-setup"}
        assert service == service | {
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "restart": "no" if once else "unless-stopped",
        }
        assert service["deploy"]["resources"]["limits"]["memory"]
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
    files = {name: {"file": f"secrets/{name}"} for name in (*made, "tls_certificate", "tls_key")}
    used = [each for service in SERVICES.values() for each in service.get("secrets", [])]

    assert make_secrets(tmp_path) == made
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert COMPOSE["secrets"] == files
    assert {each if isinstance(each, str) else each["source"] for each in used} == files.keys()
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", made["database_password"])
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
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = {volume.partition(":")[0] for volume in volumes} - COMPOSE["volumes"].keys()
    variables = {
        name for service in SERVICES.values() if service.get("image") == "fizzbuzz" for name in service["environment"]
    }

    assert [file for file in files if not file.startswith("/") and not (ROOT / file).exists()] == []
    assert {name.removesuffix("_FILE") for name in variables} <= {*declared()}


def test_configuration_files_name_the_services() -> None:
    datasources = "grafana/provisioning/datasources/datasources.yml"
    files = ("prometheus/prometheus.yml", "citus/add-workers.sql", "alloy/config.alloy", datasources)
    prometheus, citus, alloy, grafana = ((ROOT / "deploy" / file).read_text() for file in files)
    (job,) = yaml.safe_load(prometheus)["scrape_configs"]

    assert set(job["dns_sd_configs"][0]["names"]) == {name for name in SERVICES if name.startswith("web")}
    assert re.findall(r"'([\w-]+)'", citus) == ["citus", "citus-worker-1", "citus-worker-2"]
    assert {*re.findall(r"http://(\w+):", alloy + grafana)} == {"loki", "prometheus"}


def pod(kind: str) -> Any:
    return RESOURCES[kind]["spec"]["template"]


def test_kustomization_lists_each_manifest() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]

    assert {*listed, "kustomization.yaml"} == {path.name for path in KUBERNETES.glob("*.yaml")}


def test_selectors_find_the_pods() -> None:
    spec = {kind: resource.get("spec") for kind, resource in RESOURCES.items()}
    selectors = [spec[kind]["selector"] for kind in ("Deployment", "PodDisruptionBudget", "Service")]

    assert selectors == [{"matchLabels": WEB}, {"matchLabels": WEB}, WEB]
    assert pod("Deployment")["metadata"]["labels"] == WEB
    assert spec["HorizontalPodAutoscaler"]["scaleTargetRef"]["name"] == RESOURCES["Deployment"]["metadata"]["name"]
    assert pod("Job")["metadata"]["labels"] == WEB | {"app.kubernetes.io/component": "migrate"}
    assert spec["NetworkPolicy"]["podSelector"]["matchLabels"].items() <= pod("Job")["metadata"]["labels"].items()
    assert all(rule["to"] for rule in spec["NetworkPolicy"]["egress"])
    assert spec["ServiceMonitor"]["selector"]["matchLabels"] == RESOURCES["Service"]["metadata"]["labels"]
    assert spec["ServiceMonitor"]["endpoints"][0]["port"] == spec["Service"]["ports"][0]["name"]


def test_environment_has_only_settings_and_secret_files() -> None:
    environment = RESOURCES["ConfigMap"]["data"]
    files = {f"{name}_FILE": f"{SECRETS}/{name.lower()}" for name in ("DATABASE_URL", "SECRET_KEY", "METRICS_TOKEN")}

    assert {name.removesuffix("_FILE") for name in environment} <= {*declared()}
    assert {name: path for name, path in environment.items() if name.endswith("_FILE")} == files
    for kind in ("Deployment", "Job"):
        (container,) = pod(kind)["spec"]["containers"]
        assert SECRETS in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert container["envFrom"] == [{"configMapRef": {"name": RESOURCES["ConfigMap"]["metadata"]["name"]}}]


@pytest.mark.slow  # builds thousands of models
def test_service_monitor_and_alerts_match_the_prometheus_operators_schemas() -> None:
    from cloudcoil.models.prometheus_operator import v1  # noqa: PLC0415 - other tests need not wait for it

    monitor = RESOURCES["ServiceMonitor"]
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    rule = {"kind": "PrometheusRule", "metadata": {"name": "fizzbuzz"}, "spec": alerts}
    for resource in (monitor, {"apiVersion": monitor["apiVersion"], **rule}):
        model = getattr(v1, resource["kind"]).model_validate(resource)
        # Without what the schema does not know.
        assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == resource


def test_probes_are_those_of_the_service() -> None:
    (container,) = pod("Deployment")["spec"]["containers"]
    paths = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]

    assert paths == ["/health/live", "/health/live", "/health"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for its kustomize")
@pytest.mark.parametrize("vault", [False, True], ids=["Secret", "Vault"])
def test_kustomize_output_matches_the_schemas(tmp_path: Path, *, vault: bool) -> None:
    folder = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    if vault:
        file = folder / "kustomization.yaml"
        file.write_text(file.read_text().replace("# components:", "components:"))

    built = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout
    resources = list(yaml.safe_load_all(built))

    (policy,) = (resource["spec"] for resource in resources if resource["kind"] == "NetworkPolicy")
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert {resource["kind"] for resource in resources} == {*RESOURCES, *(["ServiceAccount"] if vault else [])}
    assert ports == [53, 53, 5432, 6432, 6379, *([8200] if vault else [])]
    assert {resource["metadata"].get("namespace", "fizzbuzz") for resource in resources} == {"fizzbuzz"}
    for resource in resources:
        if resource["kind"] != "ServiceMonitor":  # a custom resource, without a schema in Kubernetes
            validate(resource, "1.37", strict=True)
        if resource["kind"] in {"Deployment", "Job"}:
            template = resource["spec"]["template"]
            mounts = {mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
            volumes = {volume["name"] for volume in template["spec"]["volumes"]}
            assert mounts == volumes == ({"tmp"} if vault else {"tmp", "secrets"})
