"""The shipped dashboard asks for metrics that /metrics really gives, in PromQL."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import workbench as wb

DEPLOY = Path(wb.__file__).parent.parent / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "workbench.json").read_text("utf-8"))
PROMTOOL = shutil.which("promtool")
#: What Grafana puts in before it asks.
_FILLED = {"$__rate_interval": "1m", "$job": "workbench"}
ASKED = [
    (panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]
]


def filled(expression: str) -> str:
    for variable, value in _FILLED.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable that Grafana does not know: {expression}"
    return expression


def selectors(node: object) -> list[promql_parser.VectorSelector]:
    """Return all selectors of an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    if isinstance(node, promql_parser.MatrixSelector):
        return [node.vector_selector]
    parts = [getattr(node, name, None) for name in ("expr", "lhs", "rhs")]
    parts += list(getattr(node, "args", ()))
    return [found for part in parts if part is not None for found in selectors(part)]


@pytest.fixture(scope="module")
def series(start, red) -> dict[str, set[str]]:
    """Return name → labels of each series of a service that has had good and bad requests."""
    served = start()
    assert served.execute(red).status_code == 200
    assert served.execute("bm8gcGljdHVyZQ==").status_code == 422
    assert served.client.get("/nowhere").status_code == 404
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(served.client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("title", "expression"), ASKED)
def test_what_a_panel_asks_for_is_there(series, title, expression):
    asked = selectors(promql_parser.parse(filled(expression)))
    assert asked, title
    for selector in asked:
        assert selector.name in series, f"/metrics has no {selector.name}"
        # Prometheus adds the job by itself
        used = {matcher.name for matcher in selector.matchers.matchers} - {"job"}
        grouped = {n for group in re.findall(r"\bby \(([^)]+)\)", expression)
                   for n in group.split(", ")}  # fmt: skip
        assert used | grouped <= series[selector.name], selector.name
        assert 'job="$job"' in expression


def test_a_name_that_is_not_there_would_be_found(series):
    (selector,) = selectors(promql_parser.parse("sum by (le) (rate(workbench_requests[1m]))"))
    assert selector.name not in series
    with pytest.raises(ValueError, match=r"."):
        promql_parser.parse("sum by (")


def test_every_metric_is_on_the_board(series):
    shown = {s.name for _, e in ASKED for s in selectors(promql_parser.parse(filled(e)))}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series} - families
    assert {name for name in missing if not name.endswith("_created")} == set()


def test_routes_that_are_named_are_routes(service):
    named = {m for _, e in ASKED for m in re.findall(r'route!~"([^"]+)"', e)}
    assert named == {"/health|/metrics"}
    paths = service.app.openapi()["paths"]
    assert set(next(iter(named)).split("|")) <= set(paths)
    (wanted,) = {m for _, e in ASKED for m in re.findall(r'route=~"([^"]+)"', e)}
    assert len([path for path in paths if re.fullmatch(wanted, path)]) >= 3


def test_panels_do_not_overlap_and_say_what_they_show():
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["type"] in ("timeseries", "stat")
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_grafana_finds_the_board_and_its_source():
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    used = {t["datasource"]["uid"] for p in BOARD["panels"] for t in p["targets"]}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((folder / "dashboards/workbench.yml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/workbench.json"
    assert source["url"] == "http://prometheus:9090"
    jobs = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    (variable,) = BOARD["templating"]["list"]
    assert variable["current"]["value"] == jobs[0]["job_name"]
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape


@pytest.mark.skipif(PROMTOOL is None, reason="not installable: promtool, of Debian's prometheus")
def test_prometheus_takes_its_configuration(tmp_path, service):
    assert PROMTOOL is not None
    key = tmp_path / "key"
    key.write_text("k" * 48)
    text = (DEPLOY / "prometheus.yml").read_text().replace("/run/secrets/metrics_key", str(key))
    (tmp_path / "prometheus.yml").write_text(text)
    done = subprocess.run(
        [PROMTOOL, "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = service.client.get("/metrics").text
    linted = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert "error" not in linted.stderr.lower(), linted.stderr
