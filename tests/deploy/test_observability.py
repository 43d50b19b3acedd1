"""Alerts and dashboard: their queries parse and use only metrics of docs/reference/metrics.md."""

import json
import re
import shutil
import subprocess
from typing import Any

import promql_parser
import pytest
import yaml

from tests.deploy.nodes import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/memory.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"up": set[str]()}
OWN_LABELS = {"le", "job", "instance"}

# The seed's three failure scenarios, and ours.
REQUIRED_ALERTS = {
    "MasterDown": "master-failure",
    "MemoryNearlyFull": "out-of-memory",
    "SlowQueries": "slow-queries",
    "ReplicaOutOfRotation": "replica-resync",
    "IndexFailures": "index-failures",
    "BreakerOpen": "breaker-open",
    "GroupDown": "groups",
}


def documented_metrics() -> dict[str, set[str]]:
    """The series of docs/reference/metrics.md with their labels; a histogram has three."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \|([^|]*)\|",
        (REPOSITORY / "docs/reference/metrics.md").read_text(),
        re.MULTILINE,
    )
    series: dict[str, set[str]] = {}
    for name, kind, labels in rows:
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        series |= {name + ending: set(re.findall(r"`(\w+)`", labels)) for ending in endings}
    return series


METRICS = documented_metrics() | OF_PROMETHEUS


class _Selectors:
    """Collects the vector selectors of an expression."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def walk(self, node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            self.found.append(node)
        for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
            child = getattr(node, name, None)
            if child is not None and not isinstance(child, str | float):
                self.walk(child)
        for child in getattr(node, "args", None) or ():
            self.walk(child)


def _queries() -> list[tuple[str, str]]:
    alerts = [(rule["alert"], rule["expr"]) for rule in RULES]
    panels = [(p["title"], target["expr"]) for p in PANELS for target in p["targets"]]
    return alerts + panels


def test_there_are_queries_and_metrics_to_check() -> None:
    assert len(_queries()) > 30
    assert len(METRICS) > 20


@pytest.mark.parametrize(("name", "query"), _queries())
def test_a_query_parses_and_asks_for_what_is_exported(name: str, query: str) -> None:
    selectors = _Selectors()
    selectors.walk(promql_parser.parse(query.replace("$__rate_interval", "5m")))
    assert selectors.found, "the walk must reach the metrics"
    # What the parser's tree shows and what the text names must agree: nothing is left unchecked.
    named = {word for word in re.findall(r"[a-z_]+", query) if word in METRICS}
    assert named == {selector.name for selector in selectors.found}
    labels = set[str]().union(*(METRICS[selector.name] for selector in selectors.found))
    used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query))
    for grouping in re.findall(r"\bby \(([^)]*)\)", query):
        used |= set(grouping.replace(" ", "").split(","))
    assert used <= labels | OWN_LABELS


def test_every_metric_is_shown_or_watched() -> None:
    text = " ".join(query for _, query in _queries())
    unused = {name for name in METRICS if not re.search(rf"\b{name}\b", text)}
    # A histogram is asked for by some of its three series.
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in unused}
    assert {name for name in families if name not in text} == set()


def test_the_alerts_that_must_exist_link_their_page() -> None:
    pages = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in RULES}
    assert len(pages) == len(RULES)
    for name, page in REQUIRED_ALERTS.items():
        assert pages[name] == f"docs/runbooks/{page}.md"
    for page in pages.values():
        assert (REPOSITORY / page).is_file(), page
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_every_page_about_an_alert_names_it() -> None:
    for rule in RULES:
        page = REPOSITORY / rule["annotations"]["runbook_url"]
        assert f"`{rule['alert']}`" in page.read_text(), rule["alert"]


def test_panels_do_not_overlap_and_name_the_provisioned_source() -> None:
    sources = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    known = {source["uid"] for source in sources["datasources"]}
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert {panel["datasource"]["uid"]} | {
            target["datasource"]["uid"] for target in panel["targets"]
        } <= known


def test_grafana_finds_its_dashboard() -> None:
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    providers = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/memory.yml").read_text())
    (provider,) = providers["providers"]
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in compose["services"]["grafana"]["volumes"]
    home = compose["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert home == f"{folder}/memory.json"


def test_prometheus_reads_the_alerts_and_asks_the_service() -> None:
    settings = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert settings["rule_files"] == ["alerts.yml"]
    (job,) = settings["scrape_configs"]
    assert job["job_name"] == "memory"
    assert job["static_configs"] == [{"targets": ["memory:8000"]}]


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="NOT CHECKED: when the alerts fire; run make test-alerts",
)
def test_promtool_fires_each_alert_when_it_should() -> None:
    for words in (
        ("check", "config", str(DEPLOY / "prometheus/prometheus.yml")),
        ("test", "rules", str(REPOSITORY / "tests/deploy/alerts_test.yml")),
    ):
        ended = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
