"""Every metric, once: name, type, labels, help, and the decision that it serves.

Code and documentation are held to this list by tests. Names follow the Prometheus conventions: one prefix, base units,
``_total`` on counters. All carry the label ``component``; none carries an id of a DAG or version: their number has no
bound. A hit ratio is for PromQL to compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family, as it is exposed."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    """Beside ``component``."""
    help: str
    decision: str
    """What somebody who looks at it decides by it."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """With ``component``."""
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
        "Misses for which there was nothing to load.",
        "Somebody asks for versions that are gone.",
    ),
    Metric(
        "dagcache_loads_deduplicated_total",
        "counter",
        (),
        "Misses that waited for another thread's load of the same key.",
        "What single flight saves the database.",
    ),
    Metric(
        "dagcache_load_failures_total",
        "counter",
        (),
        "Loads whose loader raised.",
        "Look at the database and at the serialised DAGs.",
    ),
    Metric(
        "dagcache_thaw_failures_total",
        "counter",
        (),
        "Frozen copies that did not give their value back and were loaded anew.",
        "Anything but 0: memory is being damaged, or a class does not survive pickling.",
    ),
    Metric(
        "dagcache_unfrozen_total",
        "counter",
        (),
        "Values without a frozen form, kept live only.",
        "Each of them is loaded anew when its live copy is gone; the log names the class that is to blame.",
    ),
    Metric(
        "dagcache_evictions_total",
        "counter",
        ("cause",),
        "Entries that left, by cause.",
        "size: grow max_bytes. expired: as it should be.",
    ),
    Metric(
        "dagcache_evicted_bytes_total",
        "counter",
        ("cause",),
        "What the entries weighed that left, by cause.",
        "How fast the cache turns over.",
    ),
    Metric(
        "dagcache_demotions_total",
        "counter",
        (),
        "Live copies given up while their entries stayed frozen.",
        "Many per live hit: max_bytes is below the working set.",
    ),
    Metric(
        "dagcache_rejections_total",
        "counter",
        ("reason",),
        "Values that were served and not kept, by reason.",
        "oversize: a DAG does not fit the budget at all. sizer: a bug.",
    ),
    Metric(
        "dagcache_load_duration_seconds",
        "histogram",
        (),
        "What loads took.",
        "What a miss costs; whether the database is slow.",
    ),
    Metric(
        "dagcache_thaw_duration_seconds",
        "histogram",
        (),
        "What thaws took.",
        "What a frozen hit costs beside a load.",
    ),
    Metric(
        "dagcache_bytes",
        "gauge",
        ("tier",),
        "What is held, by tier: live, frozen, the cache's own overhead, and waiting: it left and is not freed yet.",
        "Its sum against max_bytes: is the budget used, and by what. Much waiting: callers hold what has left.",
    ),
    Metric(
        "dagcache_serialized_bytes",
        "gauge",
        (),
        "What the resident entries weigh where they come from.",
        "How much larger than its serialised form a DAG is in memory.",
    ),
    Metric("dagcache_max_bytes", "gauge", (), "The byte limit in force; 0 = none.", "Whether a resize took effect."),
    Metric(
        "dagcache_entries",
        "gauge",
        ("tier",),
        "Resident entries by their best tier: live, or frozen only.",
        "How many versions the budget holds.",
    ),
    Metric(
        "dagcache_entry_bytes",
        "histogram",
        (),
        "The weights of what is resident now; not cumulative over time.",
        "Whether a few giants fill the budget.",
    ),
    Metric(
        "dagcache_next_victim_idle_seconds",
        "gauge",
        (),
        "For how long the next victim has not been used; 0 if there is none.",
        "Young victims: grow max_bytes. Hours: it could be smaller.",
    ),
    Metric(
        "dagcache_sizing_error_ratio",
        "gauge",
        (),
        "Recent mean of (estimate - exact walk) / exact walk, of loaded or thawed values: the larger.",
        "Beyond a few per cent: do not trust the bytes, report it.",
    ),
    Metric(
        "dagcache_sizing_seconds_total",
        "counter",
        (),
        "Time spent on weighing.",
        "Whether weighing is worth its price.",
    ),
    Metric(
        "dagcache_unbroken_cycles_total",
        "counter",
        (),
        "Values that left and could not be taken apart, whose memory was left to the collector.",
        "Any: values have finalisers, are too large for a census, or are held and have no weak references.",
    ),
    Metric(
        "dagcache_process_resident_bytes",
        "gauge",
        (),
        "The process's resident memory.",
        "Whether the cache is what grows.",
    ),
    Metric(
        "dagcache_memory_limit_bytes",
        "gauge",
        ("source",),
        "The memory limit of the container or the machine, and where it was read.",
        "What a percentage is of, and how far the kernel's limit is.",
    ),
    Metric(
        "dagcache_pressure_state",
        "gauge",
        ("state",),
        "1 for what is being done about the process's memory, 0 for everything else.",
        "floor: something else fills the memory. Long shrunk: lower max_bytes, or raise the memory limit.",
    ),
    Metric(
        "dagcache_info",
        "gauge",
        ("version", "mode"),
        "Always 1; the version and the mode in labels.",
        "What is running where, and whether it evicts or only observes.",
    ),
)
