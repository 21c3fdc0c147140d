"""The definition of every metric: name, type, labels, help, and the decision that it serves.

Tests compare code and documentation with this list. Names follow the Prometheus conventions: one prefix, base units,
``_total`` on counters. Every metric has the label ``component``. None has the id of a DAG or a version, because their
number has no bound. A hit ratio is for PromQL to compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

FAULTS = ("setting", "airflow", "error")
"""The faults that keep a cache off: an invalid setting, an unsupported version of Airflow, an unexpected error."""

WARM_ERRORS = ("folder", "open", "read", "write", "slow", "full", "dropped", "internal")
"""The kinds of errors of a warm store; `dagcache.warm_start.counts` describes them."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    """Beside ``component``."""
    help: str
    decision: str
    """The decision that its value supports."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """All labels, ``component`` first."""
        return ("component", *self.labels)


METRICS: tuple[Metric, ...] = (
    Metric(
        "dagcache_hits_total",
        "counter",
        ("tier",),
        "Lookups served without a load, by the tier that served them.",
        "Many frozen and few live hits: a larger max_bytes would save thaws.",
    ),
    Metric(
        "dagcache_misses_total",
        "counter",
        (),
        "Lookups that found neither a live nor a frozen copy.",
        "More than new versions appear: max_bytes or ttl is too small.",
    ),
    Metric(
        "dagcache_absent_total",
        "counter",
        (),
        "Misses for which the loader found no value.",
        "A caller asks for versions that no longer exist.",
    ),
    Metric(
        "dagcache_absent_known_total",
        "counter",
        (),
        "Absent lookups without a load: the key was known to have no value.",
        "The loads that negative_ttl saves the database.",
    ),
    Metric(
        "dagcache_loads_deduplicated_total",
        "counter",
        (),
        "Misses that waited for another thread's load of the same key.",
        "The loads that single flight saves the database.",
    ),
    Metric(
        "dagcache_load_failures_total",
        "counter",
        (),
        "Loads that ended with an error of the loader.",
        "Check the database and the serialised DAGs.",
    ),
    Metric(
        "dagcache_thaw_failures_total",
        "counter",
        (),
        "Frozen copies that could not be thawed; the value was loaded again.",
        "Above 0: memory is being damaged, or a class does not survive pickling.",
    ),
    Metric(
        "dagcache_unfrozen_total",
        "counter",
        (),
        "Values without a frozen form, kept live only.",
        "Each of them is loaded again once its live copy has left; the log names the class that causes this.",
    ),
    Metric(
        "dagcache_quarantined",
        "gauge",
        (),
        "Versions in quarantine now: their content is unreadable, and they are served as missing.",
        "Above 0: Airflow fails queued tasks of these versions. Serialise their DAGs again.",
    ),
    Metric(
        "dagcache_quarantines_total",
        "counter",
        (),
        "Times that a version was put in quarantine, after a load that failed on its content.",
        "It grows while the gauge is 0: the quarantine ends before the next lookup.",
    ),
    Metric(
        "dagcache_quarantine_misses_total",
        "counter",
        (),
        "Lookups of versions in quarantine, served as missing.",
        "The number of times that Airflow did not get a DAG.",
    ),
    Metric(
        "dagcache_internal_errors_total",
        "counter",
        (),
        "Faults of dagcache that were logged and survived.",
        "Above 0: a bug to report, with the traceback in the log.",
    ),
    Metric(
        "dagcache_warm_start_hits_total",
        "counter",
        (),
        "Versions that the warm store had: thawed, not loaded by Airflow. Each is also a miss and a load of the cache.",
        "The loads that the warm start saves. None after a restart: the fingerprint has changed, see dagcache doctor.",
    ),
    Metric(
        "dagcache_warm_start_misses_total",
        "counter",
        (),
        "Versions that the warm store was asked for and did not have.",
        "Many after a restart: warm_start_max_bytes is too small, or the fingerprint has changed.",
    ),
    Metric(
        "dagcache_warm_start_rejected_total",
        "counter",
        ("reason",),
        "Records of the warm store that were not used, by reason: stale, forged or refused.",
        "stale: normal after an update in place. forged: a damaged disk, or an attack. refused: an attack, or a bug.",
    ),
    Metric(
        "dagcache_warm_start_stored_total",
        "counter",
        (),
        "Versions that were written to the warm store.",
        "None, with misses: the store is full, or cannot be written.",
    ),
    Metric(
        "dagcache_warm_start_errors_total",
        "counter",
        ("kind",),
        "Errors of the warm store, by kind; lookups were served without it.",
        "full: raise warm_start_max_bytes. folder: the store is off. Others: check the disk or the database; the log"
        " has the reason.",
    ),
    Metric(
        "dagcache_warm_start_bytes_total",
        "counter",
        ("direction",),
        "Bytes read from the warm store and written to it.",
        "The load on the disk or the database.",
    ),
    Metric(
        "dagcache_warm_start_seconds_total",
        "counter",
        ("direction",),
        "Time spent on reading the warm store and on writing to it.",
        "Much per byte: the disk or the database is slow.",
    ),
    Metric(
        "dagcache_warm_start_records",
        "gauge",
        (),
        "Versions that the warm store has now; 0 without one.",
        "The share of the versions that a restarted process need not load.",
    ),
    Metric(
        "dagcache_warm_start_passed_over",
        "gauge",
        (),
        "1 while the warm store is passed over or off, after an error or a slow call; else 0.",
        "1 for long: check the disk or the database; the log has the reason.",
    ),
    Metric(
        "dagcache_listener_failures_total",
        "counter",
        (),
        "Calls of the removal listener that failed.",
        "Above 0: repair the listener; the log has the error.",
    ),
    Metric(
        "dagcache_evictions_total",
        "counter",
        ("cause",),
        "Entries that left the cache, by cause.",
        "size: raise max_bytes. expired: normal.",
    ),
    Metric(
        "dagcache_evicted_bytes_total",
        "counter",
        ("cause",),
        "Bytes of the entries that left the cache, by cause.",
        "The turnover of the cache.",
    ),
    Metric(
        "dagcache_demotions_total",
        "counter",
        (),
        "Live copies that left while their entries stayed frozen.",
        "Many per live hit: max_bytes is below the working set.",
    ),
    Metric(
        "dagcache_rejections_total",
        "counter",
        ("reason",),
        "Values that were served but not admitted, by reason.",
        "oversize: a DAG exceeds the budget. sizer: a bug. closed: the process ends.",
    ),
    Metric(
        "dagcache_load_duration_seconds",
        "histogram",
        (),
        "Duration of loads.",
        "The cost of a miss; a slow database.",
    ),
    Metric(
        "dagcache_thaw_duration_seconds",
        "histogram",
        (),
        "Duration of thaws.",
        "The cost of a frozen hit, compared with a load.",
    ),
    Metric(
        "dagcache_bytes",
        "gauge",
        ("tier",),
        "Bytes by tier: live, frozen, overhead of the cache, and waiting: evicted but not freed yet.",
        "The use of the budget: the sum against max_bytes. Much waiting: callers hold evicted DAGs.",
    ),
    Metric(
        "dagcache_serialized_bytes",
        "gauge",
        (),
        "Bytes of the resident entries in their serialised form.",
        "The size of a DAG in memory, relative to its serialised form.",
    ),
    Metric("dagcache_max_bytes", "gauge", (), "The byte limit in force; 0 = none.", "The effect of a resize."),
    Metric(
        "dagcache_changed_settings",
        "gauge",
        (),
        "Settings that were changed at run time and differ from the configuration.",
        "A restart takes these changes back: put them into the configuration.",
    ),
    Metric(
        "dagcache_entries",
        "gauge",
        ("tier",),
        "Resident entries by their best tier: live, or frozen only.",
        "The number of versions that the budget holds.",
    ),
    Metric(
        "dagcache_entry_bytes",
        "histogram",
        (),
        "Bytes of each resident entry now; not cumulative over time.",
        "A few giants that fill the budget.",
    ),
    Metric(
        "dagcache_next_victim_idle_seconds",
        "gauge",
        (),
        "Seconds since the last use of the next victim; 0 without one.",
        "Minutes: raise max_bytes. Hours: it could be smaller.",
    ),
    Metric(
        "dagcache_sizing_error_ratio",
        "gauge",
        (),
        "Recent mean of (estimate - exact walk) / exact walk, for loaded or for thawed values: the larger one.",
        "Beyond a few per cent: do not trust the bytes, and report it.",
    ),
    Metric(
        "dagcache_sizing_seconds_total",
        "counter",
        (),
        "Time spent on weighing.",
        "The cost of weighing.",
    ),
    Metric(
        "dagcache_unbroken_cycles_total",
        "counter",
        (),
        "Evicted values that could not be taken apart: the garbage collector frees their memory.",
        "Above 0: values have finalisers, are too large for a census, or are held and have no weak references.",
    ),
    Metric(
        "dagcache_process_resident_bytes",
        "gauge",
        (),
        "Resident memory of the process.",
        "The growth of the process, compared with that of the cache.",
    ),
    Metric(
        "dagcache_process_start_time_seconds",
        "gauge",
        (),
        "The time at which the process started, in Unix seconds.",
        "A start empties the cache: misses after it are normal.",
    ),
    Metric(
        "dagcache_memory_limit_bytes",
        "gauge",
        ("source",),
        "The memory limit of the container or the machine, by its source.",
        "The base of a percentage, and the distance to the limit of the kernel.",
    ),
    Metric(
        "dagcache_pressure_state",
        "gauge",
        ("state",),
        "1 for the current state of the reaction to memory pressure, 0 for the other states.",
        "floor: the memory is used elsewhere. shrunk for long: lower max_bytes, or raise the memory limit.",
    ),
    Metric(
        "dagcache_off_by_fault",
        "gauge",
        ("reason",),
        "1 for the fault that keeps the cache off, so that Airflow's own cache serves: setting, airflow or error;"
        " 0 for the others.",
        "1: this process has no byte limit. Its log has the reason.",
    ),
    Metric(
        "dagcache_info",
        "gauge",
        ("version", "mode"),
        "Always 1; the version, and the mode: enforce, observe, or off because of a fault.",
        "The versions and modes of the running processes.",
    ),
)
