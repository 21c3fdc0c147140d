"""Faults of upkeep, disposal and the waiting room: values on their way out of the cache."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_ALLOWANCE = "dagcache.concurrency.allowance"
_DISPOSAL = "dagcache.core.disposal"
_GC_TENURING = "dagcache.reclaim.gc_tenuring"
_GC_TENURING_TESTS = ("unit/reclaim/test_gc_tenuring.py",)
_GC_PAUSE = "dagcache.reclaim.gc_pause"
_UPKEEP = "dagcache.core.upkeep"
_WAITING_ROOM = "dagcache.reclaim.waiting_room"

_DISPOSAL_TESTS = ("unit/core/test_disposal.py", "unit/reclaim/test_breaker.py")
_UPKEEP_TESTS = ("unit/core/test_upkeep.py",)
_WAITING_BYTES_TESTS = ("unit/core/test_waiting_bytes.py",)
_WAITING_ROOM_TESTS = ("unit/reclaim/test_waiting_room.py",)

FAULTS = (
    # ---- work by time ----
    Fault(
        "a disposal does not ask for the time",
        _DISPOSAL,
        "Disposer._dispose_some",
        drop_branch("A()"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "a disposal that is out of time leaves bytes over the budget",
        _UPKEEP,
        "Upkeep._dispose_within",
        replace("lambda: A.is_spent() and not self._is_over_budget()", "A.is_spent"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "all expired entries are removed by the first call",
        _UPKEEP,
        "Upkeep._expire_within",
        drop_branch("A.is_spent()"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "a call that is to free memory leaves waiting values",
        _UPKEEP,
        "Upkeep.free_all",
        replace("self._disposer.empty()", "self._disposer.dispose()"),
        _WAITING_BYTES_TESTS,
    ),
    Fault(
        "a view has no more time than a lookup",
        _UPKEEP,
        "Upkeep.for_view",
        replace("VIEW_SECONDS", "LOOKUP_SECONDS"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "expire() leaves values that it removed to later calls",
        _UPKEEP,
        "Upkeep.expire_all",
        drop("self._disposer.dispose()"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "bytes that callers hold are charged only when the budget is exceeded",
        _UPKEEP,
        "Upkeep._settle",
        drop("self._store.note_held(...)"),
        _WAITING_BYTES_TESTS,
    ),
    Fault(
        "an allowance has no seconds",
        _ALLOWANCE,
        "Allowance.__init__",
        replace("A() + B", "A()"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "the disposal after an expiry gets a time of its own",
        _UPKEEP,
        "Upkeep._expire_within",
        replace("self._dispose_within(A)", "self._dispose_for_a_while()"),
        _UPKEEP_TESTS,
    ),
    # ---- disposal ----
    Fault(
        "a disposal begins within a disposal",
        _DISPOSAL,
        "Disposer.dispose",
        drop_branch("self.is_disposing"),
        _UPKEEP_TESTS,
    ),
    Fault(
        "victims are not taken apart",
        _DISPOSAL,
        "Disposer._dispose_next",
        replace("self._part_with(A)", "A.pop()"),
        _DISPOSAL_TESTS,
    ),
    Fault(
        "a victim is taken apart although a lookup has just found it",
        _DISPOSAL,
        "Disposer._part_with",
        replace("if A:\n    B.value = None", "B.value = None"),
        _DISPOSAL_TESTS,
    ),
    Fault(
        "waiting values are not looked at again",
        _DISPOSAL,
        "Disposer.dispose",
        drop("self._room.look(...)"),
        _WAITING_BYTES_TESTS,
    ),
    # ---- the waiting room ----
    Fault(
        "the cache keeps large values alive beside a small budget",
        _WAITING_ROOM,
        "_bound_within",
        replace("min(A // STRONG_PART, B) if A else B", "B"),
        _WAITING_BYTES_TESTS,
    ),
    Fault(
        "a value that a caller holds is kept alive",
        _WAITING_ROOM,
        "WaitingRoom._try",
        drop("A.weaken()"),
        _WAITING_ROOM_TESTS,
    ),
    Fault(
        "the bytes of a value that was taken apart keep waiting",
        _WAITING_ROOM,
        "_Ticket.leave",
        drop("self._weights.pop(...)"),
        _WAITING_ROOM_TESTS,
    ),
    Fault(
        "a value that waits by weak reference counts among those with a strong one",
        _WAITING_ROOM,
        "WaitingRoom._put_back",
        replace("self._weak if A.is_weak else B", "B"),
        _WAITING_ROOM_TESTS,
    ),
    Fault(
        "the bytes of a ticket in another thread's hand are forgotten",
        _WAITING_ROOM,
        "WaitingRoom._forget_the_lost",
        replace("A() is None", "True"),
        _WAITING_ROOM_TESTS,
    ),
    Fault(
        "a value of which a part is held is never tried again",
        _WAITING_ROOM,
        "_Ticket.is_due",
        replace("A < self._failed_at or self._passes > self._pause", "A < self._failed_at"),
        _WAITING_ROOM_TESTS,
    ),
    # ---- the collector ----
    Fault(
        "a pause of ours hides that the host has switched the collector off",
        _GC_PAUSE,
        "collector_is_off",
        replace("gc.isenabled() or _off.by_us", "gc.isenabled()"),
        ("unit/reclaim/test_gc_pause.py",),
    ),
    Fault(
        "the objects of others are moved without end",
        _GC_TENURING,
        "Tenuring.move",
        drop("self._others += A"),
        _GC_TENURING_TESTS,
    ),
    Fault(
        "objects that have survived a collection are moved and not counted",
        _GC_TENURING,
        "Tenuring.move",
        replace("A + _middle_aged()", "A"),
        _GC_TENURING_TESTS,
    ),
    Fault(
        "a collection does not end what was noted before it",
        _GC_TENURING,
        "Tenuring._notice_collections",
        drop("self._kept = 0"),
        _GC_TENURING_TESTS,
    ),
    Fault(
        "objects grow old although the cache has given up values",
        "dagcache.core.loading",
        "Loads.lead",
        replace("self._store.only_grows and self._store.holds(A, B.value)", "self._store.holds(A, B.value)"),
        _GC_TENURING_TESTS,
    ),
)
