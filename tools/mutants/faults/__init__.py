"""The seeded faults, a file for each room."""

from __future__ import annotations

from tools.mutants.fault import Fault
from tools.mutants.faults import (
    accounting,
    eviction,
    freezing,
    leaving,
    lookups,
    memory,
    reports,
    safety,
    sizing,
    warm_start,
)

FAULTS: tuple[Fault, ...] = (
    *accounting.FAULTS,
    *lookups.FAULTS,
    *leaving.FAULTS,
    *eviction.FAULTS,
    *freezing.FAULTS,
    *memory.FAULTS,
    *reports.FAULTS,
    *safety.FAULTS,
    *sizing.FAULTS,
    *warm_start.FAULTS,
)
"""All of them. Their names differ."""
