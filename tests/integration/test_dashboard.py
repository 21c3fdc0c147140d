"""The dashboard: the file equals the code, uses every metric, and Prometheus accepts every expression."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from benchmarks import screens
from dagcache.metrics.definitions import METRICS
from dagcache.metrics.endpoint import MetricsEndpoint
from tests.integration.test_promtool import Prometheus, needs_prometheus
from tests.support.caches import MIB, fill, make_cache
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tools.monitoring.dashboard import ROWS, Panel, Query, concrete, dashboard, expressions, text

FILE = ROOT / "docs" / "monitoring" / "dashboard.json"
PANELS = [panel for row in ROWS for panel in row.panels]
NAME = re.compile(r"\bdagcache_\w+")
SHOWN: list[dict[str, Any]] = dashboard()["panels"]
DRAWN = [panel for shown in SHOWN for panel in (shown, *shown.get("panels", ()))]
"""With the panels of collapsed rows."""
PLACE = ("cluster", "namespace", "component", "pod", "instance")
"""The labels of a process, from the widest to the narrowest."""
PODS = [{"cluster": cluster, "namespace": "airflow", "pod": "airflow-scheduler-0"} for cluster in ("east", "west")]
"""Two pods that have everything but the cluster in common, also the address."""


RUNS = ((1, 0.0), (2, 120.0))
"""The ports of a process before and after it was started again, and the times of its first samples."""


def families(names: set[str]) -> set[str]:
    """Without what Prometheus adds to a histogram's name."""
    return {re.sub("_(bucket|count|sum)$", "", name) for name in names}


def test_the_file_is_what_the_builder_makes() -> None:
    """The package's file and the documentation's, written by `python -m tools.monitoring`."""
    assert files("dagcache.metrics").joinpath("dashboard.json").read_text() == text() == FILE.read_text()


def test_it_shows_every_metric_and_no_other() -> None:
    """A metric without a panel is one too many."""
    shown = families(set(NAME.findall(" ".join(expressions()))))
    assert shown == {metric.name for metric in METRICS}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_those_of_the_metric(metric: Any) -> None:
    """A selector or a grouping by a label that is not there shows nothing."""
    known = {*metric.all_labels, *PLACE, "le"}
    for expression in expressions():
        if families(set(NAME.findall(expression))) == {metric.name}:
            used = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expression))
            used |= {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
            assert used <= known


def test_counters_are_shown_as_rates_and_gauges_as_they_are() -> None:
    """A counter's value says nothing; a gauge's rate is noise."""
    for metric in METRICS:
        for expression in expressions():
            for found in re.finditer(rf"(rate\()?\b{metric.name}(_bucket|_sum)?\{{", expression):
                is_growing = metric.kind == "counter" or metric.name.endswith("_duration_seconds")
                assert bool(found[1]) == is_growing, expression


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_panel_says_what_is_decided_by_it(panel: Any) -> None:
    """In its description; and its series have names."""
    assert panel.decision.endswith(".")
    assert all("{{" in query.legend for query in panel.queries)


def test_panels_stand_beside_and_below_each_other() -> None:
    """Nothing overlaps or leaves the grid; ids are unique."""
    places = [panel["gridPos"] for panel in SHOWN]
    for first, second in combinations(places, 2):
        apart = (
            first["x"] + first["w"] <= second["x"]
            or second["x"] + second["w"] <= first["x"]
            or first["y"] + first["h"] <= second["y"]
            or second["y"] + second["h"] <= first["y"]
        )
        assert apart, (first, second)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in DRAWN}) == len(DRAWN) == len(PANELS) + len(ROWS)


def test_grafana_is_told_how_to_draw_them() -> None:
    by_title = {panel["title"]: panel for panel in DRAWN}
    ratio = by_title["Lookups that need no load"]
    assert ratio["type"] == "stat"
    assert ratio["fieldConfig"]["defaults"]["thresholds"]["steps"] == [
        {"color": "red", "value": None},
        {"color": "yellow", "value": 0.5},
        {"color": "green", "value": 0.9},
    ]
    assert (ratio["fieldConfig"]["defaults"]["min"], ratio["fieldConfig"]["defaults"]["max"]) == (0, 1)
    stacked = by_title["Lookups by tier"]["fieldConfig"]["defaults"]["custom"]["stacking"]
    assert stacked == {"group": "A", "mode": "normal"}
    assert "min" not in by_title["Error of estimated bytes"]["fieldConfig"]["defaults"]  # it may be below 0
    (target,) = by_title["Running versions"]["targets"]
    assert (target["instant"], target["range"], target["format"]) == (True, False, "table")
    assert [target["refId"] for target in by_title["Misses without a successful load"]["targets"]] == list("ABCD")


def test_it_can_be_imported_anywhere() -> None:
    """The data source, the components and the processes are variables; nothing is tied to one Grafana."""
    made = json.loads(text())
    assert [variable["name"] for variable in made["templating"]["list"]] == ["datasource", *PLACE]
    (asked,) = made["__inputs"]
    assert (asked["type"], asked["pluginId"]) == ("datasource", "prometheus")
    assert made["templating"]["list"][0]["current"]["value"] == f"${{{asked['name']}}}"
    used = {panel["type"] for panel in DRAWN} - {"row"}
    assert {each["id"] for each in made["__requires"]} == {"grafana", "prometheus", *used}
    assert made["schemaVersion"] == 39
    assert "id" not in made
    for panel in DRAWN:
        if panel["type"] != "row":
            sources = {target["datasource"]["uid"] for target in panel["targets"]} | {panel["datasource"]["uid"]}
            assert sources == {"${datasource}"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_understands_every_expression(tmp_path: Path) -> None:
    """Each one as a rule of its own, with Grafana's variables filled in."""
    rules = [
        {"record": f"dashboard:expression{number}", "expr": concrete(expression)}
        for number, expression in enumerate(expressions())
    ]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert "$" not in path.read_text()
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_each_variable_offers_the_values_of_the_wider_ones_and_matches_a_missing_label() -> None:
    """An installation without pods has neither a cluster nor a namespace."""
    wider: list[str] = []
    for variable, label in zip(dashboard()["templating"]["list"][1:], PLACE, strict=True):
        chosen = f"{{{','.join(wider)}}}" if wider else ""
        assert variable["definition"] == f"label_values(dagcache_info{chosen}, {label})"
        assert variable["allValue"] == ".*"
        wider.append(f'{label}=~"${label}"')
    for expression in expressions():
        assert expression.count("{") == expression.count("{" + ",".join(wider))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real one that has scraped one process, as three targets, at least three times each."""
    folder = tmp_path_factory.mktemp("prometheus")
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    fill(cache, range(25))
    endpoint = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(0,), targets=folder / "targets")
    groups = [{"targets": [f"127.0.0.1:{endpoint.port}"], "labels": each} for each in ({}, *PODS)]
    job = {"job_name": "airflow/dagcache", "honor_labels": True, "static_configs": groups}
    server = Prometheus(folder, json.dumps({"global": {"scrape_interval": "500ms"}, "scrape_configs": [job]}))
    try:
        server.wait_for("count(count_over_time(dagcache_info[1m]) >= 3) == 3")
        yield server
    finally:
        server.end()
        endpoint.close()


def drawn(prometheus: Prometheus, panel: Panel, cluster: str) -> list[tuple[Query, dict[str, str], float]]:
    """The content of a panel where some clusters are chosen: a query, the labels of a series, and its value."""
    return [
        (query, each["metric"], value)
        for query in panel.queries
        for each in prometheus.query(concrete(query.expression.replace("$cluster", cluster), "1m"))
        if not math.isnan(value := float(each["value"][1]))
    ]


@needs_prometheus
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_no_panel_is_empty_and_clusters_stay_apart(panel: Panel, prometheus: Prometheus) -> None:
    """Of a process that is well and has no lookups at the moment, with a PodMonitor's labels and without them."""
    for cluster, places in ((".+", {"east", "west"}), ("", {""})):
        shown = drawn(prometheus, panel, cluster)
        assert shown or (panel.kind == "stat" and panel.without)
        for query in panel.queries:
            found = {labels.get("cluster", "") for each, labels, _ in shown if each is query}
            assert "{{instance}}" not in query.legend or found == places, query.expression
        for query, labels, _ in shown:
            assert set(re.findall(r"{{(\w+)}}", query.legend)) - {"pod"} <= labels.keys()


@needs_prometheus
def test_the_start_of_a_process_is_marked_at_its_time(prometheus: Prometheus) -> None:
    """Grafana takes the value as the time of the mark, in milliseconds."""
    (mark,) = dashboard()["annotations"]["list"]
    assert mark["useValueForTime"]
    found = prometheus.query(concrete(mark["expr"]))
    assert {each["metric"].get("cluster", "") for each in found} == {"", "east", "west"}
    for each in found:
        assert abs(float(each["value"][1]) / 1000 - psutil.Process().create_time()) < 2


@needs_prometheus
def test_the_limit_of_the_machine_does_not_flatten_the_memory(prometheus: Prometheus) -> None:
    """The limit is a share in a panel of its own."""
    by_title = {panel.title: panel for panel in PANELS}
    values = [value for _, _, value in drawn(prometheus, by_title["Resident memory, and the cache in it"], ".*")]
    assert max(values) < 4096 * MIB
    shares = [value for _, _, value in drawn(prometheus, by_title["Resident memory, as a share of its limit"], ".*")]
    assert all(0 < value <= 1 for value in shares)


def test_the_panels_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the documents, on one sheet, without those that have nothing to show."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    asked, drawn_titles = [], []
    contents = [[], [("zero", [0.0], [0.0]), ("gap", [1.0], [math.nan])], [("some", [0.0, 1.0], [3.0, 4.0])]]
    draw_panel = screens._draw_panel

    def queried(address: str, panel: Panel, start: float, end: float) -> list[screens.Series]:
        asked.append((address, panel.title, start, end))
        return contents[min(len(asked), len(contents)) - 1]

    def noted(axes: Any, panel: Panel, series: Any) -> None:
        drawn_titles.append(panel.title)
        draw_panel(axes, panel, series)

    monkeypatch.setattr(screens, "queried", queried)
    monkeypatch.setattr(screens, "started", lambda *_: [0.5])
    monkeypatch.setattr(screens, "_draw_panel", noted)
    monkeypatch.setattr(screens, "ROWS", ROWS[:1])  # all of them take seconds
    screens.draw("http://prometheus", 0.0, 60.0, tmp_path / "sheet.png")
    titles = [panel.title for panel in ROWS[0].panels]
    assert [title for _, title, *_ in asked] == titles
    assert drawn_titles == titles[2:]
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_process_that_was_started_again_is_one_line_with_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the picture: its endpoint may have another port, and its cache begins at nothing."""
    answers = [({"component": "scheduler", "instance": f"box:{port}"}, {at: 1.0, at + 2.0: 2.0}) for port, at in RUNS]
    monkeypatch.setattr(screens, "_answer", lambda *_: iter(answers))
    by_title = {panel.title: panel for panel in PANELS}
    ((name, minutes, values),) = screens.queried("", by_title["Idle time of the next victim"], 0.0, 200.0)
    assert name == "scheduler"
    assert minutes == sorted(minutes)
    assert [value for value in values if not math.isnan(value)] == [1.0, 2.0, 1.0, 2.0]
    assert math.isnan(values[2])


def test_pictures_in_the_documents_are_small() -> None:
    """They are in every checkout."""
    assert all(path.stat().st_size < 200_000 for path in FILE.parent.parent.glob("img/*"))
