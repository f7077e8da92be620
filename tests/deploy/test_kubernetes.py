"""References between the manifests of deploy/kubernetes. `make lint` validates each with Kubernetes' schemas."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests.service import ROOT
from tests.test_configuration import declared

FOLDER = ROOT / "deploy/kubernetes"
RESOURCES: dict[str, Any] = {
    resource["kind"]: resource
    for resource in (yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml")))
    if resource["kind"] != "Kustomization"
}
WEB = {"app.kubernetes.io/name": "fizzbuzz", "app.kubernetes.io/component": "web"}
SECRETS = "/run/secrets/fizzbuzz"


def pod(kind: str) -> Any:
    return RESOURCES[kind]["spec"]["template"]


def test_kustomization_lists_each_manifest() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]

    assert sorted(listed) == sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


def test_selectors_find_the_pods() -> None:
    spec = {kind: resource.get("spec") for kind, resource in RESOURCES.items()}

    assert pod("Deployment")["metadata"]["labels"] == WEB
    assert spec["Deployment"]["selector"]["matchLabels"] == WEB
    assert spec["Service"]["selector"] == WEB
    assert spec["PodDisruptionBudget"]["selector"]["matchLabels"] == WEB
    assert spec["HorizontalPodAutoscaler"]["scaleTargetRef"]["name"] == RESOURCES["Deployment"]["metadata"]["name"]
    assert pod("Job")["metadata"]["labels"] == WEB | {"app.kubernetes.io/component": "migrate"}
    assert spec["NetworkPolicy"]["podSelector"]["matchLabels"].items() <= pod("Job")["metadata"]["labels"].items()
    assert all(rule["to"] for rule in spec["NetworkPolicy"]["egress"])
    assert spec["ServiceMonitor"]["selector"]["matchLabels"] == RESOURCES["Service"]["metadata"]["labels"]
    assert spec["ServiceMonitor"]["endpoints"][0]["port"] == spec["Service"]["ports"][0]["name"]


def test_environment_has_only_settings_and_secret_files() -> None:
    environment = RESOURCES["ConfigMap"]["data"]
    files = {name: path for name, path in environment.items() if name.endswith("_FILE")}

    assert {name.removesuffix("_FILE") for name in environment} <= {*declared()}
    assert files == {name: f"{SECRETS}/{name.removesuffix('_FILE').lower()}" for name in files}
    assert {"DATABASE_URL_FILE", "SECRET_KEY_FILE", "METRICS_TOKEN_FILE"} == {*files}
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
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
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
            assert mounts == {volume["name"] for volume in template["spec"]["volumes"]}
            assert mounts == ({"tmp"} if vault else {"tmp", "secrets"})
