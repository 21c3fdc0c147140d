"""The Grafana dashboard, as JSON. ``python -m tools.monitoring`` writes the file.

Each row of panels answers a question. The description of each panel names the decision that it supports. Grafana 10 or
newer imports the file, and asks for the data source; it stays a variable. Labels that an installation does not have
(``cluster``, ``namespace``, ``pod``) are empty, and match.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table"]

_COLUMNS = 24  # of Grafana's grid
_HEIGHT = 8
_COLOURS = ("red", "yellow", "green")


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and the legend of its series, with ``{{label}}`` for the value of a label."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    decision: str
    """Its description: the decision that it supports."""
    unit: str
    """A unit of Grafana."""
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    stacked: bool = False
    thresholds: tuple[float, float] | None = None
    """Red below the first value, green from the second one on."""
    most: float | None = None
    """The upper end of the scale."""
    without: str = ""
    """The text of a stat without a value."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question, and the panels that answer it."""

    question: str
    panels: tuple[Panel, ...]
    is_collapsed: bool = False
    """Whether the panels are hidden at first: for a part that is off by default."""


def _c(metric: str, *labels: str) -> str:
    """A metric of the chosen components and processes."""
    return f"{metric}{{{','.join((_CHOSEN, *labels))}}}"


def _rate(metric: str, *labels: str) -> str:
    return f"rate({_c(metric, *labels)}[$__rate_interval])"


def _by(labels: str, expression: str, operator: str = "sum") -> str:
    return f"{operator} by ({labels}) ({expression})"


def _quantiles(metric: str) -> tuple[Query, ...]:
    buckets = _by("component, le", _rate(f"{metric}_bucket"))
    none = f"0 * {_by('component', _rate(f'{metric}_count'))}"
    return tuple(
        Query(f"histogram_quantile({share}, {buckets}) >= 0 or {none}", f"{{{{component}}}} {name}")
        for share, name in ((0.5, "p50"), (0.99, "p99"))
    )


_VARIABLES = {
    "cluster": "Cluster",
    "namespace": "Namespace",
    "component": "Component",
    "pod": "Pod",
    "instance": "Process",
}
"""The labels to choose by, from the widest to the narrowest, and their names on the dashboard."""
_CHOSEN = ",".join(f'{label}=~"${label}"' for label in _VARIABLES)
_EACH = ", ".join(_VARIABLES)
_HITS = _by("component", _rate("dagcache_hits_total"))
_MISSES = _by("component", _rate("dagcache_misses_total"))
_RESIDENT = f'dagcache_bytes{{{_CHOSEN},tier!="waiting"}}'
_UNBROKEN = _by("component", _rate("dagcache_unbroken_cycles_total"))
_GIVEN_UP = (
    f"({_by('component', _rate('dagcache_evictions_total'))} + {_by('component', _rate('dagcache_demotions_total'))})"
)
_PROCESS = "{{component}} {{pod}} {{instance}}"
_STARTED = "dagcache_process_start_time_seconds"

ROWS: tuple[Row, ...] = (
    Row(
        "Is it working?",
        (
            Panel(
                "Lookups that need no load",
                "The hit ratio. Low for long: check the next row.",
                "percentunit",
                (Query(f"{_HITS} / ({_HITS} + {_MISSES})", "{{component}}"),),
                kind="stat",
                thresholds=(0.5, 0.9),
                most=1,
                without="no lookups",
            ),
            Panel(
                "Lookups by tier",
                "Many frozen and few live hits: a larger max_bytes would save thaws. More misses than new"
                " versions: max_bytes or ttl is too small.",
                "ops",
                (
                    Query(_by("component, tier", _rate("dagcache_hits_total")), "{{component}} {{tier}}"),
                    Query(_MISSES, "{{component}} missed"),
                ),
                stacked=True,
            ),
            Panel(
                "Time since the start",
                "A start empties the cache, and misses follow. A saw-tooth: the process is restarted again and again.",
                "s",
                (Query(f"time() - {_c(_STARTED)}", _PROCESS),),
            ),
            Panel(
                "Misses without a successful load",
                "Absent: a caller asks for versions that no longer exist. Shared: the loads that single flight saves"
                " the database. Failed: check the database and the serialised DAGs.",
                "ops",
                (
                    Query(_by("component", _rate("dagcache_absent_total")), "{{component}} absent"),
                    Query(_by("component", _rate("dagcache_absent_known_total")), "{{component}} known to be absent"),
                    Query(_by("component", _rate("dagcache_loads_deduplicated_total")), "{{component}} shared"),
                    Query(_by("component", _rate("dagcache_load_failures_total")), "{{component}} failed"),
                ),
            ),
        ),
    ),
    Row(
        "Is the budget right?",
        (
            Panel(
                "Bytes held, and the budget",
                "Well below the budget for days: it could be smaller. At the budget, with victims idle for minutes"
                " only: raise it. Waiting: evicted DAGs that callers hold. Memory pressure lowers the budget itself.",
                "bytes",
                (
                    Query(_by(f"{_EACH}, tier", _c("dagcache_bytes")), f"{_PROCESS} {{{{tier}}}}"),
                    Query(_c("dagcache_max_bytes"), f"{_PROCESS} budget"),
                ),
            ),
            Panel(
                "DAG versions held",
                "The number that the budget holds; a thaw takes a fraction of the time of a load.",
                "short",
                (Query(_c("dagcache_entries"), f"{_PROCESS} {{{{tier}}}}"),),
                stacked=True,
            ),
            Panel(
                "Idle time of the next victim",
                "Minutes or less, with misses: raise max_bytes. Hours: it could be smaller.",
                "s",
                (Query(_c("dagcache_next_victim_idle_seconds"), _PROCESS),),
            ),
            Panel(
                "Evictions by cause, and demotions",
                "size: the budget is short. expired: normal. Demoted: live copies that left; frozen ones stay.",
                "ops",
                (
                    Query(_by("component, cause", _rate("dagcache_evictions_total")), "{{component}} {{cause}}"),
                    Query(_by("component", _rate("dagcache_demotions_total")), "{{component}} demoted"),
                ),
            ),
            Panel(
                "Bytes evicted",
                "The turnover of the cache: the whole budget in less than the ttl is fast.",
                "Bps",
                (Query(_by("component, cause", _rate("dagcache_evicted_bytes_total")), "{{component}} {{cause}}"),),
                stacked=True,
            ),
            Panel(
                "Served, not admitted",
                "oversize: a DAG exceeds the budget. policy: the resident entries are worth more. sizer: a bug.",
                "ops",
                (Query(_by("component, reason", _rate("dagcache_rejections_total")), "{{component}} {{reason}}"),),
            ),
            Panel(
                "Bytes per entry",
                "A p99 near the budget: a few giants fill it. dagcache top --dags names them.",
                "bytes",
                tuple(
                    Query(
                        f"histogram_quantile({share}, {_by('component, le', _c('dagcache_entry_bytes_bucket'))})"
                        f" >= 0 or 0 * {_by('component', _c('dagcache_entry_bytes_count'))}",
                        f"{{{{component}}}} {name}",
                    )
                    for share, name in ((0.5, "p50"), (0.99, "p99"))
                ),
            ),
            Panel(
                "Bytes held, per serialised byte",
                "The size in memory of the cached DAG versions, relative to the database: several while all are live,"
                " below one if most are frozen only.",
                "short",
                (
                    Query(
                        f"{_by('component', _RESIDENT)} / ({_by('component', _c('dagcache_serialized_bytes'))} > 0)"
                        f" or 0 * {_by('component', _RESIDENT)}",
                        "{{component}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "What does a miss cost?",
        (
            Panel(
                "Loads",
                "The cost of a miss. High: the database is slow.",
                "s",
                _quantiles("dagcache_load_duration_seconds"),
            ),
            Panel(
                "Thaws",
                "The cost of a frozen hit, compared with a load.",
                "s",
                _quantiles("dagcache_thaw_duration_seconds"),
            ),
            Panel(
                "Time spent, of one core",
                "Loads and thaws: the time that more memory would save. Weighing: the cost of byte limits.",
                "percentunit",
                tuple(
                    Query(_by("component", _rate(metric)), f"{{{{component}}}} {name}")
                    for metric, name in (
                        ("dagcache_load_duration_seconds_sum", "loads"),
                        ("dagcache_thaw_duration_seconds_sum", "thaws"),
                        ("dagcache_sizing_seconds_total", "weighing"),
                    )
                ),
                stacked=True,
            ),
        ),
    ),
    Row(
        "Where is the memory?",
        (
            Panel(
                "Resident memory, and the cache in it",
                "The resident memory grows and the cache does not: the leak is elsewhere.",
                "bytes",
                (
                    Query(_c("dagcache_process_resident_bytes"), f"{_PROCESS} resident"),
                    Query(_by(_EACH, _c("dagcache_bytes")), f"{_PROCESS} cache"),
                ),
            ),
            Panel(
                "Resident memory, as a share of its limit",
                "Near 1: raise the limit of the container, or lower max_bytes. Machine: the container has no limit.",
                "percentunit",
                (
                    Query(
                        f"{_c('dagcache_process_resident_bytes')} / on ({_EACH}) group_right"
                        f" {_c('dagcache_memory_limit_bytes')}",
                        f"{_PROCESS} ({{{{source}}}})",
                    ),
                ),
            ),
            Panel(
                "Share of the cache in the resident memory",
                "A small share of a full memory: look elsewhere.",
                "percentunit",
                (
                    Query(
                        f"{_by(_EACH, _c('dagcache_bytes'))} / {_by(_EACH, _c('dagcache_process_resident_bytes'))}",
                        _PROCESS,
                    ),
                ),
                most=1,
            ),
            Panel(
                "Under memory pressure",
                "floor: the memory is used elsewhere. shrunk for long: lower max_bytes, or raise the memory limit.",
                "short",
                (
                    Query(
                        _by(
                            f"{_EACH}, state",
                            _c("dagcache_pressure_state", 'state!~"off|calm"'),
                            "max",
                        ),
                        f"{_PROCESS} {{{{state}}}}",
                    ),
                ),
                most=1,
            ),
        ),
    ),
    Row(
        "Are the figures right?",
        (
            Panel(
                "Error of estimated bytes",
                "Beyond a few per cent: do not trust the bytes, and report it.",
                "percentunit",
                (Query(_c("dagcache_sizing_error_ratio"), _PROCESS),),
            ),
            Panel(
                "Values without a frozen form, and failed thaws",
                "The log names the class that causes this. Failed thaws without such a line: memory is being damaged.",
                "ops",
                (
                    Query(_by("component", _rate("dagcache_thaw_failures_total")), "{{component}}, failed"),
                    Query(_by("component", _rate("dagcache_unfrozen_total")), "{{component}}, without"),
                ),
            ),
            Panel(
                "Faults",
                "Anything but 0 is a bug to report, with the traceback in the log.",
                "ops",
                (
                    Query(_by("component", _rate("dagcache_internal_errors_total")), "{{component}} of dagcache"),
                    Query(_by("component", _rate("dagcache_listener_failures_total")), "{{component}} of a listener"),
                ),
            ),
            Panel(
                "Quarantine",
                "Versions with unreadable content: Airflow fails their queued tasks. Serialise their DAGs again.",
                "short",
                (
                    Query(_by("component", _c("dagcache_quarantined")), "{{component}} now"),
                    Query(_by("component", _rate("dagcache_quarantines_total")), "{{component}} put in, per second"),
                    Query(
                        _by("component", _rate("dagcache_quarantine_misses_total")),
                        "{{component}} lookups without a DAG, per second",
                    ),
                ),
            ),
            Panel(
                "Off because of a fault",
                "1: Airflow's own cache serves in this process, without a byte limit. Its log has the reason.",
                "short",
                (Query(_c("dagcache_off_by_fault"), f"{_PROCESS} {{{{reason}}}}"),),
                most=1,
            ),
            Panel(
                "Left to the garbage collector",
                "The share of evicted live copies that cannot be taken apart. Their memory is freed later.",
                "percentunit",
                (Query(f"{_UNBROKEN} / ({_GIVEN_UP} > 0) or 0 * {_UNBROKEN}", "{{component}}"),),
                most=1,
            ),
            Panel(
                "Running versions",
                "observe: evicts nothing. off: by a fault. A process that is missing is not scraped, or is off.",
                "short",
                (
                    Query(
                        _by(f"{_EACH}, version, mode", _c("dagcache_info")),
                        f"{_PROCESS} {{{{version}}}} {{{{mode}}}}",
                    ),
                ),
                kind="table",
            ),
            Panel(
                "Settings changed at run time",
                "By dagcache set. A restart takes the change back: put it into the configuration.",
                "short",
                (Query(_c("dagcache_changed_settings"), _PROCESS),),
            ),
        ),
    ),
    Row(
        "Does a restart save loads?",
        (
            Panel(
                "Versions from the warm store",
                "Few hits after a restart: the fingerprint has changed (dagcache doctor names the part), or"
                " warm_start_max_bytes is too small. Stored: nothing, with misses, is a full or read-only disk or"
                " database.",
                "ops",
                (
                    Query(_by("component", _rate("dagcache_warm_start_hits_total")), "{{component}} hit"),
                    Query(_by("component", _rate("dagcache_warm_start_misses_total")), "{{component}} missed"),
                    Query(_by("component", _rate("dagcache_warm_start_stored_total")), "{{component}} stored"),
                ),
            ),
            Panel(
                "Records that were not used, and errors",
                "stale: normal. forged: a damaged disk, or an attack. refused: an attack, or a bug. full: raise"
                " warm_start_max_bytes. Others: check the disk or the database.",
                "ops",
                (
                    Query(
                        _by("component, reason", _rate("dagcache_warm_start_rejected_total")),
                        "{{component}} {{reason}}",
                    ),
                    Query(
                        _by("component, kind", _rate("dagcache_warm_start_errors_total")),
                        "{{component}} error: {{kind}}",
                    ),
                ),
            ),
            Panel(
                "Bytes of the warm store",
                "The load on the disk or the database.",
                "Bps",
                (
                    Query(
                        _by("component, direction", _rate("dagcache_warm_start_bytes_total")),
                        "{{component}} {{direction}}",
                    ),
                ),
            ),
            Panel(
                "Time of the warm store, of one core",
                "Much per byte: the disk or the database is slow.",
                "percentunit",
                (
                    Query(
                        _by("component, direction", _rate("dagcache_warm_start_seconds_total")),
                        "{{component}} {{direction}}",
                    ),
                ),
            ),
            Panel(
                "Versions in the warm store",
                "The share of the versions that a restarted process need not load.",
                "short",
                (Query(_c("dagcache_warm_start_records"), _PROCESS),),
            ),
            Panel(
                "Warm store passed over",
                "1 for long: check the disk or the database; the log has the reason.",
                "short",
                (Query(_c("dagcache_warm_start_passed_over"), _PROCESS),),
                most=1,
            ),
        ),
        is_collapsed=True,
    ),
)
"""The rows from top to bottom."""


STARTS = f"{_c(_STARTED)} * 1000"
"""The starts of the processes, in Unix milliseconds."""


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "description": "The Prometheus that scrapes the endpoints of dagcache.",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in sorted(_OPTIONS)),
        ],
        "uid": "dagcache",
        "title": "dagcache",
        "description": "A byte-budgeted cache of deserialised DAG versions.",
        "tags": ["airflow", "dagcache"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables()},
        "annotations": {"list": [_starts()]},
        "panels": list(_laid_out()),
    }


def expressions() -> list[str]:
    """Every expression, with Grafana's variables."""
    return [query.expression for row in ROWS for panel in row.panels for query in panel.queries]


def concrete(expression: str, interval: str = "5m") -> str:
    """An expression for Prometheus itself: of all processes, over a stated interval."""
    for label in _VARIABLES:
        expression = expression.replace(f"${label}", ".*")
    return expression.replace("$__rate_interval", interval)


def _starts() -> dict[str, Any]:
    """A mark at each start of a process, across all panels: the value is the time."""
    return {
        "name": "Starts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": STARTS,
        "useValueForTime": True,
        "titleFormat": "{{component}} started",
        "textFormat": "{{pod}} {{instance}}",
        "tagKeys": "component",
    }


def _variables() -> list[dict[str, Any]]:
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"selected": True, "text": "Prometheus", "value": "${DS_PROMETHEUS}"},
    }
    wider: list[str] = []
    variables = [source]
    for label, shown in _VARIABLES.items():
        chosen = f"{{{','.join(wider)}}}" if wider else ""
        variables.append(_labels(label, shown, f"label_values(dagcache_info{chosen}, {label})"))
        wider.append(f'{label}=~"${label}"')
    return variables


def _labels(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _laid_out() -> Iterator[dict[str, Any]]:
    """The rows, with up to four panels in a line."""
    number, top = 1, 0
    for row in ROWS:
        panels = list(_placed(row.panels, number + 1, top + 1))
        yield {
            "id": number,
            "type": "row",
            "title": row.question,
            "collapsed": row.is_collapsed,
            "panels": panels if row.is_collapsed else [],
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
        }
        if not row.is_collapsed:
            yield from panels
        number += 1 + len(panels)
        top += 1 + (0 if row.is_collapsed else _HEIGHT * -(-len(panels) // _per_line(panels)))


def _placed(panels: Sequence[Panel], number: int, top: int) -> Iterator[dict[str, Any]]:
    per_line = _per_line(panels)
    width = _COLUMNS // per_line
    for place, panel in enumerate(panels):
        line, column = divmod(place, per_line)
        grid = {"x": column * width, "y": top + line * _HEIGHT, "w": width, "h": _HEIGHT}
        yield _panel(panel, number + place, grid)


def _per_line(panels: Sequence[object]) -> int:
    return 3 if len(panels) <= 3 else 4


def _panel(panel: Panel, number: int, grid: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.decision,
        "datasource": _SOURCE,
        "gridPos": grid,
        "targets": [_target(query, panel, place) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(query: Query, panel: Panel, place: int) -> dict[str, Any]:
    is_table = panel.kind == "table"
    return {
        "refId": chr(ord("A") + place),
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "range": not is_table,
        "instant": is_table,
        "format": "table" if is_table else "time_series",
    }


_OPTIONS: dict[Kind, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"},
    "table": {"showHeader": True},
}


def _defaults(panel: Panel) -> dict[str, Any]:
    settings: dict[str, Any] = {"unit": panel.unit, "min": None if panel.unit == "percentunit" else 0}
    if panel.kind == "timeseries":
        mode = {"group": "A", "mode": "normal" if panel.stacked else "none"}
        settings["custom"] = {"fillOpacity": 20 if panel.stacked else 0, "showPoints": "never", "stacking": mode}
    if panel.most is not None:
        settings |= {"min": 0, "max": panel.most}
    if panel.without:
        settings["noValue"] = panel.without
    if panel.thresholds is not None:
        settings["thresholds"] = {"mode": "absolute", "steps": _steps(panel.thresholds)}
    return {name: value for name, value in settings.items() if value is not None}


def _steps(thresholds: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"color": colour, "value": value} for colour, value in zip(_COLOURS, (None, *thresholds), strict=True)]


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"
