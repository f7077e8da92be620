"""A real Prometheus with the configuration in deploy/prometheus/, scraping every second, without Docker's DNS."""

import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.proxy import free_port
from tests.service import ROOT, TIMEOUT_SECONDS, eventually

DEPLOYED = ROOT / "deploy/prometheus"

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs a Prometheus: apt-get install prometheus"
)


class Prometheus:
    def __init__(self, folder: Path, target: str, token: str) -> None:
        config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
        (job,) = config["scrape_configs"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [target]}]
        job["authorization"]["credentials_file"] = "token"
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (folder / "token").write_text(token)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(DEPLOYED / "alerts.yml", folder)
        self._address = f"127.0.0.1:{free_port()}"
        options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={self._address}"]
        self.process = subprocess.Popen(["prometheus", *options, "--log.level=error"], cwd=folder)
        assert eventually(self._ready)

    def query(self, expression: str) -> list[float]:
        """Return the values of the expression's series. Raise HTTPError if it is invalid."""
        result = self._get("query", query=expression)["result"]
        return [float(series["value"][1]) for series in result]

    def alerts(self) -> dict[str, tuple[str, str]]:
        """Return health and state of each alerting rule."""
        groups = self._get("rules")["groups"]
        return {rule["name"]: (rule["health"], rule["state"]) for group in groups for rule in group["rules"]}

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)["data"]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=TIMEOUT_SECONDS):
                return True
        except urllib.error.URLError:
            return False


@contextmanager
def scraping(target: str, token: str) -> Iterator[Prometheus]:
    with tempfile.TemporaryDirectory(prefix="fizzbuzz-prometheus-") as folder:
        prometheus = Prometheus(Path(folder), target, token)
        try:
            yield prometheus
        finally:
            prometheus.process.terminate()
            prometheus.process.wait()
