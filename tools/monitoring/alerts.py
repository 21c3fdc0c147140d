"""Alert rules for Prometheus, as YAML. ``python -m tools.monitoring`` writes the file.

Prometheus loads it by ``rule_files``. Each rule has a runbook section in ``docs/operating.md``.

The labels of a target are those of the installation: ``job`` and ``instance`` everywhere, ``namespace``, ``pod`` and
``container`` from a PodMonitor, ``cluster`` or ``env`` from a configuration. A rule therefore aggregates *without* the
labels of its metrics, and never *by* a list of labels: an alert keeps each label that leads to its process, and
processes that differ in any of them stay apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from dagcache.metrics.definitions import METRICS

RUNBOOKS = "docs/operating.md"
"""The page with the runbooks; the anchor of a section is the name of its alert in lower case. It is a path in the
source, so the annotation is ``runbook``. ``dagcache monitoring alerts --runbooks URL`` makes that a URL."""

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert."""

    name: str
    severity: Severity
    expression: str
    lasting: str
    """The time that the expression must hold, in Prometheus' notation."""
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The anchor of its runbook."""
        return self.name.lower()


_OWN = ", ".join(sorted({label for metric in METRICS for label in metric.labels}))
_EACH = f"without ({_OWN})"
_WHERE = "{{ with $labels.pod }}{{ . }}, {{ end }}{{ $labels.instance }}"
_PROCESS = f"{{{{ $labels.component }}}} ({_WHERE})"
_FLEET = "by (cluster, namespace, job)"
_SERIES = "component, exported_component, mode, version"
"""The labels of ``dagcache_info`` that a target does not have, or may have with another value."""

RULES: tuple[Rule, ...] = (
    Rule(
        "DagcacheThrashing",
        "warning",
        f'sum {_EACH} (rate(dagcache_evictions_total{{cause="size"}}[10m]) '
        'or rate(dagcache_rejections_total{reason="policy"}[10m])) > 0.05\n'
        f"and sum {_EACH} (rate(dagcache_misses_total[10m])) > 0.05\n"
        f"and max {_EACH} (dagcache_next_victim_idle_seconds) < 600",
        "15m",
        "{{ $labels.component }}: the cache evicts DAG versions that are in use",
        f"The cache of {_PROCESS} evicts versions that were used within the last ten minutes, and loads others or the"
        " same again: max_bytes is too small.",
    ),
    Rule(
        "DagcacheHardlyHits",
        "warning",
        f"sum {_EACH} (rate(dagcache_hits_total[30m]))\n"
        f"/ (sum {_EACH} (rate(dagcache_hits_total[30m])) + sum {_EACH} (rate(dagcache_misses_total[30m]))) < 0.5\n"
        f"and sum {_EACH} (rate(dagcache_misses_total[30m])) > 0.1",
        "30m",
        "{{ $labels.component }}: the cache has few hits",
        f"More than half of the lookups of {_PROCESS} have needed a load for half an"
        " hour: the cache costs memory and saves little.",
    ),
    Rule(
        "DagcacheThawsTooMuch",
        "info",
        f"sum {_EACH} (rate(dagcache_thaw_duration_seconds_sum[15m])) > 0.3",
        "30m",
        "{{ $labels.component }}: thaws take a large part of a core",
        f"{_PROCESS} has spent over 30 % of a core on thaws for half an hour: a larger max_bytes would keep more DAG"
        " versions live.",
    ),
    Rule(
        "DagcacheOversize",
        "warning",
        f'sum {_EACH} (increase(dagcache_rejections_total{{reason="oversize"}}[1h])) > 0',
        "5m",
        "{{ $labels.component }}: a DAG is larger than the cache",
        f"{_PROCESS} has loaded DAG versions that are larger than max_bytes: they are not cached, and every lookup"
        " loads them again.",
    ),
    Rule(
        "DagcacheMemoryPressure",
        "warning",
        f'max {_EACH} (dagcache_pressure_state{{state=~"shrinking|shrunk|growing"}}) == 1',
        "30m",
        "{{ $labels.component }}: memory is short, the cache is smaller than configured",
        f"The process of {_PROCESS}, or its container, is or was close to its memory limit: the cache has worked with"
        " less than max_bytes for half an hour.",
    ),
    Rule(
        "DagcacheMemoryFloor",
        "critical",
        f'max {_EACH} (dagcache_pressure_state{{state="floor"}}) == 1',
        "5m",
        "{{ $labels.component }}: memory runs out, and the cache is at its minimum",
        f"The process of {_PROCESS}, or its container, is above the high watermark although"
        " the cache is at its minimum: the memory is used elsewhere, and the limit of the kernel is near.",
    ),
    Rule(
        "DagcacheLoadsFail",
        "critical",
        f"sum {_EACH} (rate(dagcache_load_failures_total[5m])) > 0",
        "10m",
        "{{ $labels.component }}: DAG versions cannot be loaded",
        f"Loads of {_PROCESS} have failed for ten minutes: the database does not answer, or a serialised DAG cannot be"
        " read. Cached versions are still served.",
    ),
    Rule(
        "DagcacheThawsFail",
        "warning",
        f"sum {_EACH} (increase(dagcache_thaw_failures_total[1h])) > 0",
        "0m",
        "{{ $labels.component }}: a frozen copy could not be thawed",
        f"{_PROCESS} could not thaw a frozen DAG, and has loaded it again: memory is being damaged, or a class does not"
        " survive pickling.",
    ),
    Rule(
        "DagcacheSizingError",
        "warning",
        f"max {_EACH} (abs(dagcache_sizing_error_ratio)) > 0.1",
        "1h",
        "{{ $labels.component }}: the byte counts of the cache are wrong",
        f"The estimated bytes of DAGs in {_PROCESS} have differed from exact walks by more than 10 % for an hour:"
        " max_bytes is not the real limit.",
    ),
    Rule(
        "DagcacheUnbrokenCycles",
        "info",
        f"sum {_EACH} (rate(dagcache_unbroken_cycles_total[30m]))\n"
        f"> 0.9 * (sum {_EACH} (rate(dagcache_evictions_total[30m]))"
        f" + sum {_EACH} (rate(dagcache_demotions_total[30m])))\n"
        f"and sum {_EACH} (rate(dagcache_unbroken_cycles_total[30m])) > 0.1",
        "30m",
        "{{ $labels.component }}: the memory of evicted DAGs waits for the garbage collector",
        f"Nearly all DAG versions that leave the cache of {_PROCESS} cannot be taken apart: only the garbage collector"
        " frees their memory.",
    ),
    Rule(
        "DagcacheHeldByCallers",
        "info",
        f'sum {_EACH} (dagcache_bytes{{tier="waiting"}})\n> 0.25 * max {_EACH} (dagcache_max_bytes > 0)',
        "30m",
        "{{ $labels.component }}: callers hold evicted DAGs",
        f"Callers in {_PROCESS} have held evicted DAG versions of more than a quarter of max_bytes for half an hour:"
        " the process uses more memory for DAGs than max_bytes.",
    ),
    Rule(
        "DagcacheOffByFault",
        "critical",
        f"max {_EACH} (dagcache_off_by_fault) == 1",
        "5m",
        "{{ $labels.component }}: dagcache is off because of a fault",
        f"dagcache is off in {_PROCESS}: Airflow uses its own cache, without a byte limit. The metric"
        " dagcache_off_by_fault has the kind of the fault, and the log of the process its text.",
    ),
    Rule(
        "DagcacheQuarantine",
        "critical",
        "dagcache_quarantined > 0 or increase(dagcache_quarantines_total[15m]) > 0",
        "0m",
        "{{ $labels.component }}: DAG versions with unreadable content are in quarantine",
        f"{_PROCESS} serves DAG versions with unreadable content as missing: Airflow fails their queued tasks.",
    ),
    Rule(
        "DagcacheWarmStartRejected",
        "warning",
        f'sum {_EACH} (increase(dagcache_warm_start_rejected_total{{reason=~"forged|refused"}}[1h])) > 0',
        "0m",
        "{{ $labels.component }}: records of the warm store are damaged or forged",
        f"{_PROCESS} has found records in its warm store that are not signed with its key, or that name a class which"
        " may not be unpickled. It has not used them. The disk is damaged, or a foreign process writes there.",
    ),
    Rule(
        "DagcacheInternalErrors",
        "warning",
        "increase(dagcache_internal_errors_total[1h]) + increase(dagcache_listener_failures_total[1h]) > 0",
        "0m",
        "{{ $labels.component }}: faults of dagcache, or of a listener",
        f"dagcache, or a removal listener, has failed in {_PROCESS} within the last hour. Lookups were served. This is"
        " a bug to report.",
    ),
    Rule(
        "DagcacheUnfrozen",
        "info",
        "increase(dagcache_unfrozen_total[6h]) > 0",
        "0m",
        "{{ $labels.component }}: DAG versions without a frozen form",
        f"{_PROCESS} has loaded DAG versions that cannot be frozen: each is loaded again after its live copy has left.",
    ),
    Rule(
        "DagcacheEndpointDown",
        "warning",
        f'up{{job=~"(.+/)?dagcache"}} == 0\nor (up == 0 and ignoring ({_SERIES}) present_over_time(dagcache_info[1d]))',
        "10m",
        "{{ $labels.instance }}: no answer to Prometheus",
        f"The metrics endpoint {_WHERE} has not answered for ten minutes: its process has ended, hangs, or cannot be"
        " reached.",
    ),
    Rule(
        "DagcacheAbsent",
        "warning",
        f'group {_FLEET} (present_over_time(dagcache_info{{component="scheduler"}}[1d]))\n'
        f'unless group {_FLEET} (dagcache_info{{component="scheduler"}})\n'
        'or absent_over_time(dagcache_info{component="scheduler"}[1d])',
        "15m",
        "no scheduler reports to Prometheus",
        "No scheduler{{ with $labels.namespace }} in the namespace {{ . }}{{ end }}{{ with $labels.cluster }} of the"
        " cluster {{ . }}{{ end }} has reported for a quarter of an hour: none runs, none is scraped, or dagcache is"
        " not installed or turned off in all of them.",
    ),
    Rule(
        "DagcacheIdle",
        "info",
        f'sum {_EACH} (rate(dagcache_hits_total{{component="scheduler"}}[15m]))\n'
        f'+ sum {_EACH} (rate(dagcache_misses_total{{component="scheduler"}}[15m])) == 0',
        "30m",
        "{{ $labels.instance }}: the scheduler looks up no DAGs",
        f"The scheduler {_WHERE} has not looked up any DAG for half an hour: no DAG run is active, or it hangs.",
    ),
)
"""The budget first, then memory, then faults."""


def text(rules: Iterable[Rule] = RULES) -> str:
    """The file of rules, in YAML."""
    return "\n".join(_lines(rules)) + "\n"


def _lines(rules: Iterable[Rule]) -> Iterator[str]:
    """YAML without a library: a JSON string is a YAML string."""
    yield "# Generated: edit tools/monitoring/alerts.py and run `python -m tools.monitoring`."
    yield "groups:"
    yield "  - name: dagcache"
    yield "    rules:"
    for rule in rules:
        yield f"      - alert: {rule.name}"
        yield "        expr: |-"
        yield from (f"          {line}" for line in rule.expression.splitlines())
        yield f"        for: {rule.lasting}"
        yield "        labels:"
        yield f"          severity: {rule.severity}"
        yield "        annotations:"
        yield f"          summary: {json.dumps(rule.summary)}"
        yield f"          description: {json.dumps(rule.description)}"
        yield f"          runbook: {json.dumps(f'{RUNBOOKS}#{rule.runbook}')}"
