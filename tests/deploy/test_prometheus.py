"""deploy/prometheus and deploy/grafana with a real service and a real Prometheus."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import pytest
import yaml

from tests.proxy import free_port, listens
from tests.service import ROOT, Service, children, eventually, send, serving

DEPLOYED = ROOT / "deploy/prometheus"
TOKEN = "of a test"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/fizzbuzz.json").read_text())
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOYED / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
# The expressions of the dashboard, and those of the alerts without their comparison.
PANELS = {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "10s")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
QUERIES = PANELS | {name: re.sub(r"\s[<>] [0-9.]+\s*$", "", rule["expr"]) for name, rule in ALERTS.items()}
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs a Prometheus: apt-get install prometheus"
)


class Watched(NamedTuple):
    """A service with one worker, which a Prometheus with the deployed configuration scrapes every second."""

    service: Service
    prometheus: str

    def query(self, expression: str) -> list[float]:
        """Return the values of the expression's series."""
        answer = send(f"{self.prometheus}/api/v1/query?query={quote(expression)}")
        assert answer.status == 200, answer.body
        return [float(series["value"][1]) for series in answer.json()["data"]["result"]]

    def alerts(self) -> dict[str, tuple[str, str]]:
        groups = send(f"{self.prometheus}/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: (rule["health"], rule["state"]) for group in groups for rule in group["rules"]}

    def be_used(self) -> None:
        """Do everything that a metric counts."""
        for number in (3, 5, 15, 7):
            assert self.service.request("/api/fizzbuzz", {"number": number}).status == 201
        assert self.service.request("/api/fizzbuzz/batch", {"numbers": [15] * 1_000}).status == 201
        assert {self.service.request(path).status for path in ("/", "/live", "/stats", "/api/most_common")} == {200}
        assert self.service.request("/nowhere").status == 404


@pytest.fixture(scope="module")
def watched(shared_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    with serving(DATA_DIR=str(shared_data_dir), METRICS_TOKEN=TOKEN, WEB_CONCURRENCY="1") as service:
        config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
        config |= {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOYED / "alerts.yml")],
        }
        (job,) = config["scrape_configs"]
        job |= {
            "static_configs": [{"targets": [urlsplit(service.address).netloc]}],
            "authorization": {"credentials": TOKEN},
        }
        del job["dns_sd_configs"]  # Docker's
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"]
        address = f"127.0.0.1:{port}"
        prometheus = subprocess.Popen(["prometheus", *options, f"--web.listen-address={address}"], cwd=folder)
        try:
            assert eventually(lambda: listens(port) and send(f"http://{address}/-/ready").status == 200)
            yield Watched(service, f"http://{address}")
        finally:
            prometheus.terminate()
            prometheus.wait()


@needs_prometheus
def test_healthy_service_gives_each_expression_a_result_and_raises_no_alert(watched: Watched) -> None:
    def without_result() -> dict[str, list[float]]:
        watched.be_used()
        results = {name: watched.query(expression) for name, expression in QUERIES.items()}
        return {name: values for name, values in results.items() if not values or math.isnan(sum(values))}

    assert eventually(lambda: not without_result()), without_result()
    assert len(QUERIES) > 30
    assert eventually(lambda: watched.alerts() == dict.fromkeys(ALERTS, ("ok", "inactive"))), watched.alerts()


@needs_prometheus
def test_metrics_survive_a_killed_worker(watched: Watched) -> None:
    (worker,) = children(watched.service.process.pid)

    os.kill(worker, signal.SIGKILL)

    assert eventually(lambda: watched.query("fizzbuzz_worker_starts_total") == [2])
    conditions = (
        "fizzbuzz_workers == 1",
        "fizzbuzz_worker_cpu_seconds_total > 0",
        "resets(fizzbuzz_worker_cpu_seconds_total[1m]) == 0",
        "changes(fizzbuzz_start_time_seconds[1m]) == 0",
        "0 < fizzbuzz_database_connections < fizzbuzz_database_max_connections",
    )
    assert [each for each in conditions if not watched.query(each)] == []


@needs_prometheus
def test_promtool_accepts_metrics_configuration_and_rules(watched: Watched) -> None:
    metrics = watched.service.request("/metrics", Authorization=f"Bearer {TOKEN}").body

    for checks in ("check metrics", "check config --syntax-only prometheus.yml", "test rules alerts.test.yml"):
        subprocess.run(["promtool", *checks.split()], cwd=DEPLOYED, input=metrics, text=True, check=True)


def test_each_alert_has_a_rule_test_and_a_section_in_the_runbook() -> None:
    groups = yaml.safe_load((DEPLOYED / "alerts.test.yml").read_text())["tests"]
    checked = [check for group in groups for check in group["alert_rule_test"]]
    assert re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE) == list(ALERTS)
    assert {(check["alertname"], bool(check["exp_alerts"])) for check in checked} == {*product(ALERTS, (True, False))}
    assert {name: rule["annotations"]["runbook_url"] for name, rule in ALERTS.items()} == {
        name: f"docs/runbook.md#{name.lower()}" for name in ALERTS
    }


def test_dashboard_shows_each_metric_to_watch() -> None:
    rows = re.findall(r"^\| (`(?:django|fizzbuzz)_.*)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    named = re.findall(r"`((?:django|fizzbuzz)_\w+)`", "".join(rows))

    assert len(named) > 12
    assert [name for name in named if name not in "".join(PANELS.values())] == []


def test_panels_use_the_chosen_source() -> None:
    (variable,) = DASHBOARD["templating"]["list"]  # any Grafana's first Prometheus, unless another one is chosen
    used = {json.dumps(each["datasource"]) for panel in DASHBOARD["panels"] for each in (panel, *panel["targets"])}

    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert used == {json.dumps({"type": "prometheus", "uid": f"${{{variable['name']}}}"})}
