"""The alert rules: the file equals the code, each rule fires when it should, and links to a runbook.

Each case runs with the labels of a static configuration, and with those of PodMonitors in two clusters that share a
Prometheus: one in the state of the alert, one quiet.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from dagcache.metrics.definitions import FAULTS, METRICS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tools.monitoring.alerts import RULES, Rule, text

FILE = ROOT / "docs" / "monitoring" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "operating.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

STATIC = {"component": "scheduler", "instance": "box:11780", "job": "dagcache"}
POD_MONITOR = {
    "component": "scheduler",
    "container": "scheduler",
    "endpoint": "11780",
    "instance": "10.0.0.7:11780",
    "job": "airflow/dagcache",
    "namespace": "airflow",
    "pod": "airflow-scheduler-0",
}
EAST, WEST = ({**POD_MONITOR, "cluster": name} for name in ("east", "west"))
HOURS = 120
"""Minutes of each series; one sample per minute."""


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation: with these an alert fires in the end, with those it does not."""

    fires: dict[str, str]
    quiet: dict[str, str]
    kept: tuple[str, ...] | None = None
    """The labels of the target that the alert has; None: all."""
    own: dict[str, str] = field(default_factory=dict)
    """Labels of the series that replace those of the target."""
    at: str = "119m"


def grow(per_minute: float) -> str:
    """A counter."""
    return f"0+{per_minute}x{HOURS}"


def stay(value: float) -> str:
    """A gauge."""
    return f"{value}+0x{HOURS}"


def one(name: str, **labels: str) -> str:
    """A series of the scheduler, without the labels of its target."""
    return f"{name}{{{','.join(f'{label}=|{value}|' for label, value in labels.items())}}}".replace("|", '"')


def of(target: dict[str, str], series: dict[str, str]) -> dict[str, str]:
    """The series with the labels of a target, unless a series has its own value of the label."""

    def labelled(name: str) -> str:
        has = set(re.findall(r"(\w+)=", name))
        # A file of targets names the component; a PodMonitor does not.
        not_of_targets = {"component"} if name.startswith("up{") and target is not STATIC else set()
        added = [f'{key}="{value}"' for key, value in target.items() if key not in has | not_of_targets]
        given = name.partition("{")[2].rstrip("}")
        return f"{name.partition('{')[0]}{{{','.join([*added, *([given] if given else [])])}}}"

    return {labelled(name): values for name, values in series.items()}


HITS, MISSES = one("dagcache_hits_total", tier="live"), one("dagcache_misses_total")
FROZEN_HITS = one("dagcache_hits_total", tier="frozen")
EVICTED, EXPIRED = one("dagcache_evictions_total", cause="size"), one("dagcache_evictions_total", cause="expired")
WAITING, BUDGET = one("dagcache_bytes", tier="waiting"), one("dagcache_max_bytes")
DEMOTED, UNBROKEN = one("dagcache_demotions_total"), one("dagcache_unbroken_cycles_total")
NOT_KEPT, OVERSIZE = (one("dagcache_rejections_total", reason=reason) for reason in ("policy", "oversize"))
UP, INFO = one("up"), one("dagcache_info", version="1.0", mode="enforce")
VICTIM = one("dagcache_next_victim_idle_seconds")
SIZING = one("dagcache_sizing_error_ratio")
FAILURES = one("dagcache_load_failures_total")
QUARANTINED, QUARANTINES = one("dagcache_quarantined"), one("dagcache_quarantines_total")
FORGED, REFUSED, STALE = (
    one("dagcache_warm_start_rejected_total", reason=reason) for reason in ("forged", "refused", "stale")
)
INTERNAL, LISTENER = one("dagcache_internal_errors_total"), one("dagcache_listener_failures_total")
PODS = {"job": "kubernetes-pods"}
"""The labels of a job of any name, which scrapes other programs as well."""


def states(current: str) -> dict[str, str]:
    """The pressure's state, all the time."""
    all_states = ("off", "calm", "shrinking", "floor", "shrunk", "growing")
    return {one("dagcache_pressure_state", state=state): stay(int(state == current)) for state in all_states}


CASES = {
    "DagcacheThrashing": [
        Case(
            fires={EVICTED: grow(30), MISSES: grow(30), VICTIM: stay(40)},
            quiet={EVICTED: grow(30), MISSES: grow(30), VICTIM: stay(4000)},
        ),
        Case(
            fires={NOT_KEPT: grow(30), MISSES: grow(30), VICTIM: stay(40)},
            quiet={EXPIRED: grow(30), MISSES: grow(30), VICTIM: stay(40)},
        ),
        Case(
            fires={EVICTED: grow(2), NOT_KEPT: grow(2), MISSES: grow(4), VICTIM: stay(40)},
            quiet={EVICTED: grow(30), MISSES: grow(1), VICTIM: stay(40)},
        ),
    ],
    "DagcacheHardlyHits": [
        Case(
            fires={HITS: grow(10), FROZEN_HITS: grow(10), MISSES: grow(30)},
            quiet={HITS: grow(10), FROZEN_HITS: grow(30), MISSES: grow(30)},
        ),
        Case(fires={HITS: grow(0), MISSES: grow(10)}, quiet={HITS: grow(0), MISSES: grow(2)}),
    ],
    "DagcacheThawsTooMuch": [
        Case(
            fires={one("dagcache_thaw_duration_seconds_sum"): grow(24)},
            quiet={one("dagcache_thaw_duration_seconds_sum"): grow(12)},
        )
    ],
    "DagcacheOversize": [Case(fires={OVERSIZE: grow(1)}, quiet={OVERSIZE: grow(0), NOT_KEPT: grow(1)})],
    "DagcacheMemoryPressure": [
        Case(fires=states("shrunk"), quiet=states("calm")),
        Case(fires=states("shrinking"), quiet=states("off")),
    ],
    "DagcacheMemoryFloor": [Case(fires=states("floor"), quiet=states("shrinking"))],
    "DagcacheLoadsFail": [
        Case(fires={FAILURES: grow(1)}, quiet={FAILURES: f"0x20 5+0x{HOURS - 21}"}),
    ],
    "DagcacheThawsFail": [
        Case(
            fires={one("dagcache_thaw_failures_total"): f"0x80 1+0x{HOURS - 81}"},
            quiet={one("dagcache_thaw_failures_total"): stay(3)},
        )
    ],
    "DagcacheSizingError": [
        Case(fires={SIZING: stay(-0.2)}, quiet={SIZING: stay(0.04)}),
        Case(fires={SIZING: stay(0.2)}, quiet={SIZING: stay(-0.04)}),
    ],
    "DagcacheUnbrokenCycles": [
        Case(
            fires={UNBROKEN: grow(39), EXPIRED: grow(20), DEMOTED: grow(20)},
            quiet={UNBROKEN: grow(20), EXPIRED: grow(20), DEMOTED: grow(20)},
        ),
        Case(
            fires={UNBROKEN: grow(8), EXPIRED: grow(1), DEMOTED: grow(7)},
            quiet={UNBROKEN: grow(2), EXPIRED: grow(1), DEMOTED: grow(1)},
        ),
    ],
    "DagcacheHeldByCallers": [
        Case(
            fires={WAITING: stay(30), BUDGET: stay(100)},
            quiet={WAITING: stay(20), BUDGET: stay(100)},
        ),
        Case(
            fires={WAITING: stay(30), BUDGET: stay(100)},
            quiet={WAITING: stay(30), BUDGET: stay(0)},
        ),
    ],
    "DagcacheOffByFault": [
        Case(
            fires={one("dagcache_off_by_fault", reason="setting"): stay(1)},
            quiet={one("dagcache_off_by_fault", reason=fault): stay(0) for fault in FAULTS},
        )
    ],
    "DagcacheQuarantine": [
        Case(
            fires={QUARANTINED: stay(1), QUARANTINES: stay(1)},
            quiet={QUARANTINED: stay(0), QUARANTINES: stay(3)},
        ),
        Case(
            fires={QUARANTINED: stay(0), QUARANTINES: f"0x110 1+0x{HOURS - 111}"},
            quiet={QUARANTINED: stay(0), QUARANTINES: f"0x20 1+0x{HOURS - 21}"},
        ),
    ],
    "DagcacheWarmStartRejected": [
        Case(fires={FORGED: grow(1)}, quiet={FORGED: stay(3), STALE: grow(1)}),
        Case(fires={REFUSED: grow(1)}, quiet={REFUSED: grow(0)}),
    ],
    "DagcacheInternalErrors": [
        Case(
            fires={INTERNAL: f"0x80 1+0x{HOURS - 81}", LISTENER: stay(0)},
            quiet={INTERNAL: stay(2), LISTENER: stay(2)},
        ),
        Case(
            fires={INTERNAL: stay(0), LISTENER: f"0x80 1+0x{HOURS - 81}"},
            quiet={INTERNAL: f"0x20 1+0x{HOURS - 21}", LISTENER: stay(0)},
        ),
    ],
    "DagcacheUnfrozen": [
        Case(fires={one("dagcache_unfrozen_total"): grow(1)}, quiet={one("dagcache_unfrozen_total"): stay(7)})
    ],
    "DagcacheEndpointDown": [
        Case(fires={UP: stay(0)}, quiet={UP: stay(1)}),
        Case(
            # A job of any name that has scraped a cache there.
            fires={one("up", **PODS): f"1x30 0x{HOURS}", one("dagcache_info", mode="off", **PODS): "1x30"},
            quiet={one("up", **PODS): stay(0), one("dagcache_info", mode="enforce"): stay(1)},
            own=PODS,
        ),
    ],
    "DagcacheAbsent": [
        Case(
            fires={INFO: "1x60", one("dagcache_info", component="api_server", mode="enforce"): stay(1)},
            quiet={INFO: "1x60", one("dagcache_info", mode="enforce", instance="another:11780"): "_x60 1x60"},
            kept=("cluster", "namespace", "job"),
        ),
    ],
    "DagcacheIdle": [
        Case(
            fires={HITS: stay(70), FROZEN_HITS: stay(70), MISSES: stay(7)},
            quiet={HITS: grow(1), FROZEN_HITS: stay(70), MISSES: stay(7)},
        )
    ],
}


def rule(name: str) -> Rule:
    """By its name."""
    return next(rule for rule in RULES if rule.name == name)


def expected(alert: Rule, target: dict[str, str], case: Case) -> dict[str, Any]:
    """The expected result of a rule in Prometheus."""
    labels = {key: value for key, value in {**target, **case.own}.items() if case.kept is None or key in case.kept}
    if alert.name == "DagcacheEndpointDown" and target is not STATIC:
        del labels["component"]

    def filled(words: str) -> str:
        """As Prometheus expands the templates; of an optional part, only the label within it is a variable."""
        optional = r"{{ with \$labels\.(\w+) }}(.*?){{ end }}"
        words = re.sub(
            optional, lambda one: one[2].replace("{{ . }}", labels[one[1]]) if one[1] in labels else "", words
        )
        return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], words)

    return {
        "exp_labels": {"severity": alert.severity, **labels},
        "exp_annotations": {
            "summary": filled(alert.summary),
            "description": filled(alert.description),
            "runbook": f"docs/operating.md#{alert.runbook}",
        },
    }


def minutes(lasting: str) -> int:
    """Of Prometheus' notation, as far as it is used."""
    return int(lasting[:-1]) * {"m": 1, "h": 60}[lasting[-1]]


def looked_at(alert: Rule, series: dict[str, str], *looks: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A test for promtool: the expected alerts at a time."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": alert.name, "exp_alerts": alerts} for at, alerts in looks],
    }


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_not_before_and_not_otherwise(name: str, tmp_path: Path) -> None:
    """As the real rules engine sees it, annotations and all labels of the target included."""
    alert, tests = rule(name), []
    for case in CASES[name]:
        lasting = minutes(alert.lasting)
        too_early: list[tuple[str, list[dict[str, Any]]]] = [(f"{lasting - 1}m", [])] if lasting else []
        tests.append(looked_at(alert, of(STATIC, case.fires), *too_early, (case.at, [expected(alert, STATIC, case)])))
        tests.append(looked_at(alert, of(STATIC, case.quiet), (case.at, [])))
        # Of two clusters in one Prometheus, the healthy one does not hide the other one.
        both = of(WEST, case.quiet) | of(EAST, case.fires)
        tests.append(looked_at(alert, both, (case.at, [expected(alert, EAST, case)])))
    check(alert, tests, tmp_path)


@needs_promtool
def test_an_alert_on_absence_also_fires_where_no_scheduler_has_ever_reported(tmp_path: Path) -> None:
    """API servers report."""
    alert = rule("DagcacheAbsent")
    series = of(STATIC, {one("dagcache_info", component="api_server", mode="enforce"): stay(1)})
    firing = expected(alert, {"component": "scheduler"}, Case({}, {}))
    check(alert, [looked_at(alert, series, ("14m", []), ("119m", [firing]))], tmp_path)


def check(alert: Rule, tests: list[dict[str, Any]], folder: Path) -> None:
    """Have promtool run tests of one rule; the others would take most of the time."""
    rules, path = folder / "rules.yaml", folder / "tests.json"  # JSON is YAML
    rules.write_text(text([alert]))
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    """Each name once."""
    assert [rule.name for rule in RULES] == list(CASES)


def test_the_file_is_what_the_builder_makes() -> None:
    """The package's file and the documentation's, written by `python -m tools.monitoring`."""
    assert files("dagcache.metrics").joinpath("alerts.yaml").read_text() == text() == FILE.read_text()


@needs_promtool
def test_promtool_has_no_objection() -> None:
    """To any of the rules."""
    done = subprocess.run(["promtool", "check", "rules", FILE], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    """By the anchor that a heading gets."""
    sections = re.findall(r"^### (Dagcache\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sections == [rule.name for rule in RULES]


@pytest.mark.parametrize("alert", RULES, ids=lambda alert: alert.name)
def test_a_section_says_what_it_means_how_to_check_and_what_to_do(alert: Rule) -> None:
    """Woken at night, one reads no more than that."""
    section = RUNBOOKS.read_text().partition(f"### {alert.name}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    assert re.findall(r"^- \*\*(.*?)\*\*", section, re.MULTILINE) == ["Means.", "Check.", "Do."]
    assert f"`{alert.severity}`" in section


@pytest.mark.parametrize("alert", RULES, ids=lambda alert: alert.name)
def test_metrics_in_an_alert_exist_with_their_labels(alert: Rule) -> None:
    """A rule over a metric that is no more never fires."""
    known = {metric.name: metric for metric in METRICS}
    for name, selector in re.findall(r"\b(dagcache_\w+?)(?:_sum)?\b(?:\{(.*?)\})?", alert.expression):
        assert name in known
        assert set(re.findall(r"(\w+)=", selector)) <= set(known[name].all_labels)
