"""Faults in reading memory limits, and in following memory pressure."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_CGROUPS = "dagcache.sizing.cgroups"
_MEMORY = "dagcache.sizing.memory"
_PRESSURE = "dagcache.pressure"
_CGROUPS_TESTS = ("unit/sizing/test_memory.py",)
_PRESSURE_TESTS = ("unit/test_pressure.py",)

FAULTS = (
    # ---- control groups ----
    Fault(
        "memory.high is not a limit",
        _CGROUPS,
        "group_limits",
        replace("('memory.max', 'memory.high')", "('memory.max',)"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "of several mounts at one point the hidden one counts",
        _CGROUPS,
        "_mounts",
        replace("A[B] = _Mount(C, D, E)", "A.setdefault(B, _Mount(C, D, E))"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "a mount counts although another file system lies over it",
        _CGROUPS,
        "_directories",
        replace("A is None or not _is_mounted(...)", "A is None"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "a mount point with a space in its path is not found",
        _CGROUPS,
        "_mounts",
        replace("_unescaped(A[4])", "A[4]"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "pages of files that are not written yet count as free",
        _CGROUPS,
        "used_bytes",
        replace("max(0, A - sum(...))", "A"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "clean pages of files in a container count as used",
        _CGROUPS,
        "used_bytes",
        replace("max(0, A - B - C.get('slab_reclaimable', 0))", "max(0, A - C.get('slab_reclaimable', 0))"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "slab that the kernel can reclaim counts as used",
        _CGROUPS,
        "used_bytes",
        replace("max(0, A - B - C.get('slab_reclaimable', 0))", "max(0, A - B)"),
        _CGROUPS_TESTS,
    ),
    Fault(
        "pages of files that the process has mapped count as used",
        _MEMORY,
        "unreclaimable_bytes",
        replace("sum(A) * 1024 if B else resident_bytes(C)", "resident_bytes(C)"),
        _CGROUPS_TESTS,
    ),
    # ---- pressure ----
    Fault(
        "a percentage is resolved only once",
        _PRESSURE,
        "MemoryPressure._follow_configuration",
        replace(
            "A = self._cache.config.resolve(B)",
            "A = self._configured if B is self._requested else self._cache.config.resolve(B)",
        ),
        _PRESSURE_TESTS,
    ),
    Fault(
        "a low mark above the high one is accepted",
        _PRESSURE,
        "MemoryPressure.__init__",
        drop_branch("self._low > self._high"),
        _PRESSURE_TESTS,
    ),
    Fault(
        "between the marks the budget never grows back",
        _PRESSURE,
        "MemoryPressure._step",
        replace("A or B + self._portion <= 0", "A"),
        _PRESSURE_TESTS,
    ),
    Fault(
        "between the marks the budget grows although the step exceeds the high mark",
        _PRESSURE,
        "MemoryPressure._step",
        replace("A or B + self._portion <= 0", "A or B <= 0"),
        _PRESSURE_TESTS,
    ),
    Fault(
        "wrong growth is never noticed",
        _PRESSURE,
        "MemoryPressure._grow",
        drop("self._grown = A"),
        _PRESSURE_TESTS,
    ),
    Fault(
        "wrong growth does not lengthen the wait below the low mark",
        _PRESSURE,
        "MemoryPressure._grow",
        replace("TURN_SECONDS * self._doubt", "TURN_SECONDS"),
        _PRESSURE_TESTS,
    ),
    Fault(
        "wrong growth is never forgotten",
        _PRESSURE,
        "MemoryPressure._regain_trust",
        drop("self._doubt = 1"),
        _PRESSURE_TESTS,
    ),
    Fault(
        "the last step up goes beyond the configured budget",
        _PRESSURE,
        "MemoryPressure._grow",
        replace("self._configured if A >= self._full else A", "A"),
        _PRESSURE_TESTS,
    ),
)
