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
from urllib.error import URLError
from urllib.parse import quote, urlsplit

import pytest
import yaml

from tests.proxy import free_port
from tests.service import ROOT, Service, children, eventually, send, serving

DEPLOYED = ROOT / "deploy/prometheus"
TOKEN = "of a test"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/fizzbuzz.json").read_text())
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOYED / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
KINDS = {"Fizz": 3, "Buzz": 5, "FizzBuzz": 15, "Number": 7}
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs a Prometheus: apt-get install prometheus"
)


class Watched:
    """A service with one worker, which a Prometheus with the deployed configuration scrapes every second."""

    def __init__(self, service: Service, prometheus: str) -> None:
        self.service = service
        self._prometheus = prometheus

    def query(self, expression: str) -> list[float]:
        """Return the values of the expression's series."""
        answer = send(f"{self._prometheus}/api/v1/query?query={quote(expression)}")
        assert answer.status == 200, answer.body
        return [float(series["value"][1]) for series in answer.json()["data"]["result"]]

    def alerts(self) -> dict[str, tuple[str, str]]:
        """Return health and state of each alerting rule."""
        groups = send(f"{self._prometheus}/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: (rule["health"], rule["state"]) for group in groups for rule in group["rules"]}

    def is_ready(self) -> bool:
        try:
            return send(f"{self._prometheus}/-/ready").status == 200
        except URLError:
            return False

    def metrics(self) -> str:
        answer = self.service.request("/metrics", Authorization=f"Bearer {TOKEN}")
        assert answer.status == 200
        return answer.body

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.metrics(), re.MULTILINE)
        assert found
        return float(found[1])

    def be_used(self) -> None:
        """Do everything that a metric counts."""
        for number in KINDS.values():
            assert self.service.request("/api/fizzbuzz", {"number": number}).status == 201
        assert self.service.request("/api/fizzbuzz/batch", {"numbers": [15] * 1_000}).status == 201
        assert {self.service.request(path).status for path in ("/", "/live", "/stats", "/api/most_common")} == {200}
        assert self.service.request("/nowhere").status == 404


@pytest.fixture(scope="module")
def watched(shared_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, address = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{free_port()}"
    with serving(DATA_DIR=str(shared_data_dir), METRICS_TOKEN=TOKEN, WEB_CONCURRENCY="1") as service:
        config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
        (job,) = config["scrape_configs"]
        del job["dns_sd_configs"]  # Docker's
        job["static_configs"] = [{"targets": [urlsplit(service.address).netloc]}]
        job["authorization"]["credentials_file"] = "token"
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (folder / "token").write_text(TOKEN)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(DEPLOYED / "alerts.yml", folder)
        options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
        prometheus = subprocess.Popen(["prometheus", *options, "--log.level=error"], cwd=folder)
        try:
            watched = Watched(service, f"http://{address}")
            assert eventually(watched.is_ready)
            yield watched
        finally:
            prometheus.terminate()
            prometheus.wait()


def queries() -> list[tuple[str, str]]:
    """Return the expressions of the dashboard, and those of the alerts without their comparison."""
    found = [
        (f"{panel['title']} {target['refId']}", target["expr"].replace("$__rate_interval", "10s"))
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    for name, rule in ALERTS.items():
        value, compared = re.subn(r"\s[<>] [0-9.]+\s*$", "", rule["expr"])
        assert compared == 1, name
        found.append((name, value))
    return found


@needs_prometheus
def test_each_expression_of_dashboard_and_alerts_has_a_result(watched: Watched) -> None:
    def without_result() -> dict[str, list[float]]:
        results = {name: watched.query(expression) for name, expression in queries()}
        return {name: values for name, values in results.items() if not values or math.isnan(sum(values))}

    def complete() -> bool:
        watched.be_used()
        return not without_result()

    assert eventually(complete), without_result()
    assert len(queries()) > 30


@needs_prometheus
def test_no_alert_is_raised_by_a_healthy_service(watched: Watched) -> None:
    healthy = dict.fromkeys(ALERTS, ("ok", "inactive"))

    assert eventually(lambda: watched.query('up{job="fizzbuzz"}') == [1])
    assert eventually(lambda: watched.alerts() == healthy), watched.alerts()


@needs_prometheus
def test_promtool_accepts_metrics_configuration_and_rules(watched: Watched) -> None:
    def promtool(arguments: str, text: str = "") -> str:
        done = subprocess.run(
            ["promtool", *arguments.split()], cwd=DEPLOYED, input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert promtool("check metrics", watched.metrics()) == ""
    promtool("check config --syntax-only prometheus.yml")
    promtool("check rules alerts.yml")
    promtool("test rules alerts.test.yml")


def test_each_alert_has_a_rule_test_and_a_section_in_the_runbook() -> None:
    groups = yaml.safe_load((DEPLOYED / "alerts.test.yml").read_text())["tests"]
    checked = [check for group in groups for check in group["alert_rule_test"]]
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)

    assert sections == list(ALERTS)
    assert {(check["alertname"], bool(check["exp_alerts"])) for check in checked} == {*product(ALERTS, (True, False))}
    assert {name: rule["annotations"]["runbook_url"] for name, rule in ALERTS.items()} == {
        name: f"docs/runbook.md#{name.lower()}" for name in ALERTS
    }


def test_panels_do_not_overlap_and_use_the_chosen_source() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    (variable,) = DASHBOARD["templating"]["list"]  # any Grafana's first Prometheus, unless another one is chosen
    used = {json.dumps(each["datasource"]) for panel in DASHBOARD["panels"] for each in (panel, *panel["targets"])}

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert used == {json.dumps({"type": "prometheus", "uid": f"${{{variable['name']}}}"})}


@needs_prometheus
def test_worker_metrics_follow_their_start_and_work(watched: Watched) -> None:
    started, cpu = watched.metric("fizzbuzz_worker_starts_total"), watched.metric("fizzbuzz_worker_cpu_seconds_total")
    since = watched.metric("fizzbuzz_start_time_seconds")
    (worker,) = children(watched.service.process.pid)

    os.kill(worker, signal.SIGKILL)
    assert eventually(lambda: children(watched.service.process.pid) not in ([], [worker]))
    watched.be_used()

    assert watched.metric("fizzbuzz_workers") == 1
    assert watched.metric("fizzbuzz_worker_starts_total") == started + 1
    assert watched.metric("fizzbuzz_worker_cpu_seconds_total") > cpu > 0
    assert watched.metric("fizzbuzz_start_time_seconds") == since > 0
    assert 0 < watched.metric("fizzbuzz_database_connections") < watched.metric("fizzbuzz_database_max_connections")
