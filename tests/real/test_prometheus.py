"""Debian's Prometheus scrapes a real daemon."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.http import unused_endpoint
from integration.daemons import PATIENCE, Machines, machines, wait_for

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("prometheus")]

_RULES = """
groups:
  - name: holdfast
    rules:
      - alert: NothingStored
        expr: holdfast_last_stored_age_seconds > 0 and on(instance) holdfast_phase{phase="running"} == 1
"""


class Prometheus:
    """A server that scrapes one target each 0.2 s."""

    def __init__(self, folder: Path, target: str) -> None:
        self.endpoint = unused_endpoint()
        (folder / "rules.yml").write_text(_RULES)
        (folder / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
                    "rule_files": [str(folder / "rules.yml")],
                    "scrape_configs": [{"job_name": "holdfast", "static_configs": [{"targets": [target]}]}],
                }
            )
        )
        self.log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.endpoint.removeprefix('http://')}",
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples that a query finds; none while the server is not up."""
        address = f"{self.endpoint}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
        except urllib.error.URLError:
            return []
        return found

    def value(self, query: str) -> float | None:
        found = self.ask(query)
        return float(found[0]["value"][1]) if found else None

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()


@pytest.fixture
def park(tmp_path: Path) -> Iterator[Machines]:
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as found:
        yield found


def test_prometheus_scrapes_a_daemon_and_its_rules_can_be_evaluated(park: Machines, tmp_path: Path) -> None:
    port = unused_endpoint().rpartition(":")[2]
    daemon = park.start("one", "--metrics-port", port, HOLD_AT="33")
    park.until_step("one", 33, daemon)
    server = Prometheus(tmp_path, f"127.0.0.1:{port}")
    try:
        wait_for(lambda: server.value("holdfast_last_stored_step") == 30, "a scrape", alive=daemon.process)
        assert server.value("up") == 1
        assert server.value("holdfast_useful_batches_ratio") == 1
        assert server.value("holdfast_phase == 1") == 1
        assert server.ask("holdfast_phase == 1")[0]["metric"]["phase"] == "running"
        assert (server.value("rate(holdfast_store_duration_seconds_count[1m])") or 0) >= 0
        wait_for(lambda: bool(server.ask("ALERTS")), "the alert", alive=daemon.process)
        targets = f"{server.endpoint}/api/v1/targets"
        with urllib.request.urlopen(targets, timeout=10) as answer:
            (target,) = json.loads(answer.read())["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read(),
            capture_output=True,
            timeout=PATIENCE,
        )
        assert b"holdfast_" not in checked.stdout + checked.stderr, "promtool's lint has nothing to say about our names"
    finally:
        server.close()
    assert daemon.terminate() == 75


def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((Path(__file__).parents[2] / "deploy/grafana/holdfast.json").read_text())
    queries = [target["expr"].replace("$run", ".*") for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"dashboard:query{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
