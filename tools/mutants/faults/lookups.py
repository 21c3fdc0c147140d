"""Faults of lookups and single flight.

The functions of lookups are named without their class: where they move, only the module changes here.
"""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, replace

_DECISION = "dagcache.core.decision"
_JOINING = "dagcache.core.joining"
_LOOKUP = "dagcache.core.lookup"
_OFFERING = "dagcache.core.offering"
_THAWING = "dagcache.core.thawing"
_SINGLE_FLIGHT = "dagcache.core.single_flight"
_RELEASES = "dagcache.reclaim.releases"
_STORE = "dagcache.core.store"
_WAITING_ROOM = "dagcache.reclaim.waiting_room"
_WAITS = "dagcache.core.waits"

_LOOKUPS_TESTS = ("unit/core/test_cache_lookups.py",)
_PRIVATE_TESTS = ("unit/core/test_private_copies.py",)
_PARTS_TESTS = ("unit/core/test_shared_parts.py",)
_SHARING_TESTS = ("unit/core/test_sharing_while_waiting.py",)
_WAITS_TESTS = ("unit/core/test_waits.py",)

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
        "Lookups.resolve",
        replace("if A.value is not ABANDONED: return A", "return ABSENT if A.value is ABANDONED else A"),
        ("stress/test_threads.py::test_followers_try_again_when_their_leader_is_interrupted",),
    ),
    Fault(
        "a private lookup without a frozen form gets the others' object",
        _DECISION,
        "Decisions.decide",
        replace("A.private or B is None", "B is None"),
        _PRIVATE_TESTS,
    ),
    Fault(
        "the changes of one caller outlive the renewal",
        _DECISION,
        "Decisions.decide",
        drop("A.give_up_live(B)"),
        _PRIVATE_TESTS,
    ),
    Fault(
        "a value is found while another thread may take it apart",
        _WAITING_ROOM,
        "WaitingRoom.find",
        replace("A.remove(B)", "B in A and A.remove(B)"),
        ("unit/reclaim/test_waiting_room.py",),
    ),
    Fault(
        "a value is found while another cache may take it apart",
        _RELEASES,
        "follow",
        replace("A.is_revoked or _is_any_under_way()", "A.is_revoked"),
        _PARTS_TESTS,
    ),
    Fault(
        "a value that was emptied in vain is found again",
        _RELEASES,
        "revoke_references_to",
        replace("A.is_revoked = True", "A.is_revoked = False"),
        _PARTS_TESTS,
    ),
    Fault(
        "a release that started meanwhile is not noticed",
        _RELEASES,
        "follow",
        replace("not A.is_revoked and _latest[0] is B", "not A.is_revoked"),
        _PARTS_TESTS,
    ),
    Fault(
        "a value is brought back to life while its finaliser runs",
        "dagcache.reclaim.weak_references",
        "WaitingReference.to",
        replace("A.is_revoked = is_finalised[type(B)]", "A.is_revoked = False"),
        _PARTS_TESTS,
    ),
    Fault(
        "a value that a lookup may not return dies under the lock",
        _WAITING_ROOM,
        "WaitingRoom.find",
        drop("self._undecided += A"),
        _PARTS_TESTS,
    ),
    Fault(
        "a breaker without a cache is no release",
        "dagcache.reclaim.breaker",
        "GenericBreaker.release",
        replace("release(functools.partial(self._release, A))", "self._release(A)"),
        _PARTS_TESTS,
    ),
    Fault(
        "a renewal leaves a value that waits to further lookups",
        _STORE,
        "Store.give_up_live",
        replace("A, B.ticket = B.live, 0", "A = B.live"),
        _SHARING_TESTS,
    ),
    Fault(
        "the object that a renewal gives up is found where it waits",
        _STORE,
        "Store.give_up_live",
        replace("self._demote(A, B, ticket=0)", "self._demote(A, B)"),
        _SHARING_TESTS,
    ),
    Fault(
        "the object of a private load is shared while it waits",
        _STORE,
        "Store._offer_to_tiers",
        replace(
            "if A:\n    self.pass_through(B.value, C, D)\nelif self._may_be_live(E):\n    self._make_live(E, F, G, H)\n"
            "else:\n    self._pass_shared_through(E, I, J, K)",
            "if not A and self._may_be_live(E):\n    self._make_live(E, F, G, H)\n"
            "else:\n    self._pass_shared_through(E, I, J, K)",
        ),
        _SHARING_TESTS,
    ),
    Fault(
        "a value that was served and not kept is thawed again while it is held",
        _STORE,
        "Store._make_live",
        replace("self._pass_shared_through(A, B, C, D)", "self.pass_through(B, C, D)"),
        _SHARING_TESTS,
    ),
    Fault(
        "a session that starts frees nothing",
        "dagcache.airflow.session_starts",
        "_free_dropped_of",
        drop("A.free_dropped()"),
        ("unit/airflow/test_session_starts.py",),
    ),
    Fault(
        "a replay thaws what callers hold",
        "dagcache.traces.replay",
        "_Callers.share",
        replace("return A in self._held", "return False"),
        ("unit/traces/test_replay.py",),
    ),
    Fault(
        "followers share the object of a private load",
        _JOINING,
        "Joins.share",
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
        "Thaws._failed",
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
        "a ring through a thread that another task blocks is not noticed",
        _WAITS,
        "Waits._judge",
        replace("(*self._blocking(A), *B.awaited)", "B.awaited"),
        _WAITS_TESTS,
    ),
    Fault(
        "two threads that close a ring at the same time both wait",
        _WAITS,
        "Waits.begin",
        replace(
            "for A in B.led: A.awaited.append(C)\nif D: E\nF = self._judge(C, B, D)",
            "F = self._judge(C, B, D)\nfor A in B.led: A.awaited.append(C)\nif D: E",
        ),
        _WAITS_TESTS,
    ),
    Fault(
        "a handler's wait ends the wait that it interrupted",
        _WAITS,
        "Waits.end",
        replace("A.remove(weakref.ref(B))", "A.clear()"),
        _WAITS_TESTS,
    ),
    Fault(
        "a blocking follower stops the task of its own thread that it waits for",
        _WAITS,
        "Waits._judge",
        replace("A and B.leader is C.thread", "A and not C"),
        _WAITS_TESTS,
    ),
    Fault(
        "a load does not know that it is a part of a flight",
        _WAITS,
        "leading",
        replace("_leading.set(A)", "_leading.set(())"),
        (*_WAITS_TESTS, "unit/core/test_async_lookups.py::test_a_load_that_asks_for_its_own_key_is_refused"),
    ),
    Fault(
        "a cancelled load of a task leaves its flight behind",
        _LOOKUP,
        "Lookups._load_async",
        drop("self._section.run_or_defer(...)"),
        ("unit/core/test_async_lookups.py",),
    ),
    Fault(
        "a bulk lookup loads a key that another thread loads",
        "dagcache.core.bulk",
        "BulkLookups._is_to_be_loaded",
        replace("self._flights.get(A) is None and B", "B"),
        ("unit/core/test_bulk.py",),
    ),
    Fault(
        "a key counts as absent after a value was assigned and has left",
        "dagcache.core.store",
        "Store.admit",
        drop("self.absences.forget(...)"),
        ("unit/core/test_absences.py",),
    ),
    Fault(
        "a load that was overtaken leaves an absence",
        "dagcache.core.loading",
        "Loads._absent",
        replace("self._flights.retire(A, B) and C", "(self._flights.retire(A, B), C)[1]"),
        ("unit/core/test_absences.py",),
    ),
    Fault(
        "an entry in use outlives its greatest age",
        "dagcache.core.store",
        "Store._defer_noting",
        replace("A if A < B else B", "A"),
        ("unit/core/test_expiry.py",),
    ),
    Fault(
        "a bound lookup of a forked child looks into its parent's table",
        "dagcache.core.parts",
        "Parts._after_fork_in_child",
        drop("self._switch.turn(...)"),
        ("unit/core/test_hit_path.py",),
    ),
    Fault(
        "a dropped cache leaves its values to the collector",
        "dagcache.core.parts",
        "Parts._end",
        drop("self.section.run(...)"),
        ("unit/core/test_dropping.py",),
    ),
    Fault(
        "a closed cache keeps values",
        "dagcache.core.store",
        "Store._offer_to_tiers",
        replace("self.closed or A", "A"),
        ("unit/core/test_closing.py",),
    ),
)
