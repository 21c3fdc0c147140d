"""The alert rules: the file equals the code, each rule fires when it should, and links to a runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from dagcache.metrics.definitions import METRICS
from tests.support.paths import ROOT
from tools.monitoring.alerts import RULES, Rule, text

FILE = ROOT / "docs" / "monitoring" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "operating.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

PROCESS = {"component": "scheduler", "instance": "box:11780"}
HOURS = 120
"""Minutes of each series; one sample per minute."""


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation: with these an alert fires in the end, with those it does not."""

    fires: dict[str, str]
    quiet: dict[str, str]
    labels: dict[str, str]
    """Those of the alert, beside its severity."""
    at: str = "119m"


def grow(per_minute: float) -> str:
    """A counter."""
    return f"0+{per_minute}x{HOURS}"


def stay(value: float) -> str:
    """A gauge."""
    return f"{value}+0x{HOURS}"


def one(name: str, **labels: str) -> str:
    """A series of the scheduler."""
    joined = ",".join(f'{label}="{value}"' for label, value in {**PROCESS, "job": "dagcache", **labels}.items())
    return f"{name}{{{joined}}}"


HITS, MISSES = one("dagcache_hits_total", tier="live"), one("dagcache_misses_total")
FROZEN_HITS = one("dagcache_hits_total", tier="frozen")
EVICTED, EXPIRED = one("dagcache_evictions_total", cause="size"), one("dagcache_evictions_total", cause="expired")
WAITING, BUDGET = one("dagcache_bytes", tier="waiting"), one("dagcache_max_bytes")
DEMOTED, UNBROKEN = one("dagcache_demotions_total"), one("dagcache_unbroken_cycles_total")
NOT_KEPT, OVERSIZE = (one("dagcache_rejections_total", reason=reason) for reason in ("policy", "oversize"))
VICTIM = one("dagcache_next_victim_idle_seconds")
SIZING = one("dagcache_sizing_error_ratio")
FAILURES = one("dagcache_load_failures_total")


def states(current: str) -> dict[str, str]:
    """The pressure's state, all the time."""
    all_states = ("off", "calm", "shrinking", "floor", "shrunk", "growing")
    return {one("dagcache_pressure_state", state=state): stay(int(state == current)) for state in all_states}


CASES = {
    "DagcacheThrashing": [
        Case(
            fires={EVICTED: grow(30), MISSES: grow(30), VICTIM: stay(40)},
            quiet={EVICTED: grow(30), MISSES: grow(30), VICTIM: stay(4000)},
            labels=PROCESS,
        ),
        Case(
            fires={NOT_KEPT: grow(30), MISSES: grow(30), VICTIM: stay(40)},
            quiet={EXPIRED: grow(30), MISSES: grow(30), VICTIM: stay(40)},
            labels=PROCESS,
        ),
        Case(
            fires={EVICTED: grow(2), NOT_KEPT: grow(2), MISSES: grow(4), VICTIM: stay(40)},
            quiet={EVICTED: grow(30), MISSES: grow(1), VICTIM: stay(40)},
            labels=PROCESS,
        ),
    ],
    "DagcacheHardlyHits": [
        Case(
            fires={HITS: grow(10), FROZEN_HITS: grow(10), MISSES: grow(30)},
            quiet={HITS: grow(10), FROZEN_HITS: grow(30), MISSES: grow(30)},
            labels=PROCESS,
        ),
        Case(fires={HITS: grow(0), MISSES: grow(10)}, quiet={HITS: grow(0), MISSES: grow(2)}, labels=PROCESS),
    ],
    "DagcacheThawsTooMuch": [
        Case(
            fires={one("dagcache_thaw_duration_seconds_sum"): grow(24)},
            quiet={one("dagcache_thaw_duration_seconds_sum"): grow(12)},
            labels=PROCESS,
        )
    ],
    "DagcacheOversize": [Case(fires={OVERSIZE: grow(1)}, quiet={OVERSIZE: grow(0), NOT_KEPT: grow(1)}, labels=PROCESS)],
    "DagcacheMemoryPressure": [
        Case(fires=states("shrunk"), quiet=states("calm"), labels=PROCESS),
        Case(fires=states("shrinking"), quiet=states("off"), labels=PROCESS),
    ],
    "DagcacheMemoryFloor": [Case(fires=states("floor"), quiet=states("shrinking"), labels=PROCESS)],
    "DagcacheLoadsFail": [
        Case(fires={FAILURES: grow(1)}, quiet={FAILURES: f"0x20 5+0x{HOURS - 21}"}, labels=PROCESS),
    ],
    "DagcacheThawsFail": [
        Case(
            fires={one("dagcache_thaw_failures_total"): f"0x80 1+0x{HOURS - 81}"},
            quiet={one("dagcache_thaw_failures_total"): stay(3)},
            labels=PROCESS,
        )
    ],
    "DagcacheSizingError": [
        Case(fires={SIZING: stay(-0.2)}, quiet={SIZING: stay(0.04)}, labels=PROCESS),
        Case(fires={SIZING: stay(0.2)}, quiet={SIZING: stay(-0.04)}, labels=PROCESS),
    ],
    "DagcacheUnbrokenCycles": [
        Case(
            fires={UNBROKEN: grow(39), EXPIRED: grow(20), DEMOTED: grow(20)},
            quiet={UNBROKEN: grow(20), EXPIRED: grow(20), DEMOTED: grow(20)},
            labels=PROCESS,
        ),
        Case(
            fires={UNBROKEN: grow(8), EXPIRED: grow(1), DEMOTED: grow(7)},
            quiet={UNBROKEN: grow(2), EXPIRED: grow(1), DEMOTED: grow(1)},
            labels=PROCESS,
        ),
    ],
    "DagcacheHeldByCallers": [
        Case(
            fires={WAITING: stay(30), BUDGET: stay(100)},
            quiet={WAITING: stay(20), BUDGET: stay(100)},
            labels=PROCESS,
        ),
        Case(
            fires={WAITING: stay(30), BUDGET: stay(100)},
            quiet={WAITING: stay(30), BUDGET: stay(0)},
            labels=PROCESS,
        ),
    ],
    "DagcacheEndpointDown": [
        Case(
            fires={'up{job="dagcache",instance="box:11780"}': stay(0)},
            quiet={'up{job="dagcache",instance="box:11780"}': stay(1), 'up{job="other",instance="x"}': stay(0)},
            labels={"job": "dagcache", "instance": "box:11780"},
        )
    ],
    "DagcacheAbsent": [
        Case(
            fires={'dagcache_info{component="api_server"}': stay(1)},
            quiet={one("dagcache_info"): stay(1)},
            labels={"component": "scheduler"},
        )
    ],
    "DagcacheIdle": [
        Case(
            fires={HITS: stay(70), FROZEN_HITS: stay(70), MISSES: stay(7)},
            quiet={HITS: grow(1), FROZEN_HITS: stay(70), MISSES: stay(7)},
            labels=PROCESS,
        )
    ],
}


def rule(name: str) -> Rule:
    """By its name."""
    return next(rule for rule in RULES if rule.name == name)


def expected(alert: Rule, labels: dict[str, str]) -> dict[str, Any]:
    """The expected result of a rule in Prometheus."""

    def filled(words: str) -> str:
        return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], words)

    return {
        "exp_labels": {"severity": alert.severity, **labels},
        "exp_annotations": {
            "summary": filled(alert.summary),
            "description": filled(alert.description),
            "runbook_url": f"docs/operating.md#{alert.runbook}",
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
    """As the real rules engine sees it, annotations included."""
    alert, tests = rule(name), []
    for case in CASES[name]:
        firing = [expected(alert, case.labels)]
        lasting = minutes(alert.lasting)
        too_early: list[tuple[str, list[dict[str, Any]]]] = [(f"{lasting - 1}m", [])] if lasting else []
        tests.append(looked_at(alert, case.fires, *too_early, (case.at, firing)))
        tests.append(looked_at(alert, case.quiet, (case.at, [])))
    path = tmp_path / "tests.json"  # JSON is YAML
    path.write_text(json.dumps({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=60)
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
    done = subprocess.run(["promtool", "check", "rules", FILE], capture_output=True, text=True, timeout=60)
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
