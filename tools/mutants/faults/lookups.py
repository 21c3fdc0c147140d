"""Faults of lookups and single flight.

The functions of lookups are named without their class: where they move, only the module changes here.
"""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, replace

_DECISION = "dagcache.core.lookup"
_JOINING = "dagcache.core.lookup"
_LOOKUP = "dagcache.core.lookup"
_OFFERING = "dagcache.core.lookup"
_THAWING = "dagcache.core.lookup"
_SINGLE_FLIGHT = "dagcache.core.single_flight"

_LOOKUPS_TESTS = ("unit/core/test_cache_lookups.py",)
_PRIVATE_TESTS = ("unit/core/test_private_copies.py",)
_FLIGHT_TESTS = ("unit/core/test_single_flight.py",)

FAULTS = (
    Fault(
        "a load resurrects a key that was deleted meanwhile",
        _OFFERING,
        "_keep_loaded",
        replace(
            "if not A:\n    self._store.pass_through(B.value, C, D)\n    return E",
            "if not A and B.key in self._store.entries:\n    self._store.pass_through(B.value, C, D)\n    return E",
        ),
        _LOOKUPS_TESTS,
    ),
    Fault(
        "a value is kept although its loader withdraws it",
        _OFFERING,
        "_keep_loaded",
        replace("A and B is not None", "A and B is None"),
        _LOOKUPS_TESTS,
    ),
    Fault(
        "followers of an interrupted leader give up",
        _LOOKUP,
        "resolve",
        replace("if A.value is not ABANDONED: return A", "return _ABSENT if A.value is ABANDONED else A"),
        ("stress/test_threads.py::test_followers_try_again_when_their_leader_is_interrupted",),
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
        _JOINING,
        "_follow",
        replace("A.private or B.private", "B.private"),
        _PRIVATE_TESTS,
    ),
    Fault(
        "popping lets a load that is under way be kept",
        _LOOKUP,
        "_withdraw",
        drop("self._flights.invalidate(...)"),
        _LOOKUPS_TESTS,
    ),
    Fault(
        "a failed thaw leaves the damaged entry",
        _THAWING,
        "_thaw_failed",
        drop("self._store.remove(...)"),
        ("unit/core/test_cache_lookups.py::test_a_damaged_copy_is_thawed_once",),
    ),
    Fault(
        "a joined load is counted as a load",
        "dagcache.core.counters",
        "LookupCounts.joined",
        replace("self.joins += 1", "self.loads += 1"),
        ("stress/test_threads.py::test_a_thousand_threads_on_one_key_load_once",),
    ),
    Fault(
        "a load overwrites a value that was assigned meanwhile",
        _SINGLE_FLIGHT,
        "Flights.invalidate",
        replace("self._by_key.pop(A, None)", "self._by_key.get(A)"),
        _LOOKUPS_TESTS,
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
        _FLIGHT_TESTS,
    ),
)
