"""Faults of lookups and single flight.

The functions of lookups are named without their class: where they move, only the module changes here.
"""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, replace

_DECISION = "dagcache.core.lookup"
_LOADS = "dagcache.core.lookup"
_LOOKUP = "dagcache.core.lookup"
_THAWS = "dagcache.core.lookup"
_WITHDRAWAL = "dagcache.core.lookup"
_SINGLE_FLIGHT = "dagcache.core.single_flight"

_CHANGES_TESTS = ("unit/core/test_cache_changes.py",)
_LOOKUPS_TESTS = ("unit/core/test_cache_lookups.py",)
_PRIVATE_TESTS = ("unit/core/test_private_copies.py",)
_FLIGHT_TESTS = ("unit/core/test_single_flight.py",)
_REENTRY_TESTS = ("unit/core/test_reentry.py",)

FAULTS = (
    Fault(
        "a load resurrects a key that was deleted meanwhile",
        _LOADS,
        "_keep_loaded",
        replace(
            "if not A:\n    self._store.pass_through(B.value, C, D)\n    return E",
            "if not A and B.key in self._store.entries:\n    self._store.pass_through(B.value, C, D)\n    return E",
        ),
        _CHANGES_TESTS,
    ),
    Fault(
        "a value is kept although its loader has learned better",
        _LOADS,
        "_keep_loaded",
        replace("A and B is not None", "A and B is None"),
        _LOOKUPS_TESTS,
    ),
    Fault(
        "followers of an interrupted leader give up",
        _LOOKUP,
        "resolve",
        replace("if A.value is not ABANDONED: return A", "return _ABSENT if A.value is ABANDONED else A"),
        _FLIGHT_TESTS,
    ),
    Fault(
        "a private lookup without a frozen form gets the others' object",
        _DECISION,
        "_begin",
        replace("not A.private and B is not None and C.live is not None", "B is not None and C.live is not None"),
        _PRIVATE_TESTS,
    ),
    Fault(
        "the changes of one caller outlive the renewal",
        _DECISION,
        "_begin",
        drop("A.give_up_live(B)"),
        _PRIVATE_TESTS,
    ),
    Fault(
        "followers share the object of a private load",
        _LOOKUP,
        "_follow",
        replace("A.private or B.private", "B.private"),
        _PRIVATE_TESTS,
    ),
    Fault(
        "popping lets a load that is under way be kept",
        _WITHDRAWAL,
        "_withdraw",
        drop("self._flights.invalidate(...)"),
        _CHANGES_TESTS,
    ),
    Fault(
        "a failed thaw leaves the damaged entry",
        _THAWS,
        "_thaw_failed",
        drop("self._store.remove(...)"),
        _LOOKUPS_TESTS,
    ),
    Fault(
        "a joined load is counted as a load",
        "dagcache.core.counters",
        "LookupCounts.joined",
        replace("self.joins += 1", "self.loads += 1"),
        _FLIGHT_TESTS,
    ),
    Fault(
        "a load overwrites a value that was assigned meanwhile",
        _SINGLE_FLIGHT,
        "Flights.invalidate",
        replace("self._by_key.pop(A, None)", "self._by_key.get(A)"),
        _CHANGES_TESTS,
    ),
    Fault(
        "waiting in a ring is not noticed",
        _SINGLE_FLIGHT,
        "Flights.follow",
        replace("self._waiting.get(...)", "()"),
        _FLIGHT_TESTS,
    ),
    Fault(
        "a handler's wait ends the wait that it interrupted",
        _SINGLE_FLIGHT,
        "Flights.unfollow",
        replace("A.pop()", "A.clear()"),
        _REENTRY_TESTS,
    ),
)
