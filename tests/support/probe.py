"""The probe: the only access of tests to the private parts of a `DagCache`. A test holds that.

It reads state that no public name shows, replaces the clocks of measurements, and makes one step fail. Tests use public
names and `check_invariants()` where these suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from dagcache import DagCache
from dagcache.core.entry import Entry
from dagcache.core.single_flight import Flight
from dagcache.core.waits import WAITS
from dagcache.freezing.pickle_freezer import Freezer
from dagcache.sizing.estimate import LearnedSizer

if TYPE_CHECKING:
    import pytest

P = ParamSpec("P")
R = TypeVar("R")
Cache = DagCache[Any, Any]

Step = Literal[
    "prepare", "lead a thaw", "make live", "demote", "evict", "add an entry", "enter the ledger", "leave the ledger"
]
"""A step of a cache that `replace_step` may replace."""


# ---- what is resident ----


def entries(cache: Cache) -> Mapping[Hashable, Entry]:
    """The table of entries itself, with those that have expired and are not removed yet."""
    return cache._store.entries


def live_values(cache: Cache) -> dict[Hashable, Any]:
    """The live values by key. Not a use of them."""
    return {key: copy.value for key, copy in list(cache._store.live.items())}


def find_waiting(cache: Cache, key: Hashable) -> list[object]:
    """The value that waits and that a lookup of this key would get, in a list. Not a use of it."""
    return cache._disposer.find(cache._store.entries[key].ticket)


def resident_bytes(cache: Cache) -> int:
    """The bytes of the residents, without upkeep."""
    return cache._store.used


def deadline_count(cache: Cache) -> int:
    """The number of deadlines that are kept."""
    return len(cache._store._deadlines)


def live_copy(cache: Cache, key: Hashable) -> Any:
    """The record of a live copy, as a lookup without the lock finds it."""
    return cache._store.live[key]


def reweigh(cache: Cache, key: Hashable, nbytes: int) -> None:
    """Account for a live value as if it were found to weigh so many bytes."""
    run_locked(cache, cache._store.reweigh, live_copy(cache, key), nbytes, cache._clock.latest)


def unfreshen(cache: Cache, key: Hashable) -> None:
    """Have the next hit on a live copy noted, as if some time had passed. Nothing if there is none."""
    copy = cache._store.live.get(key)
    if copy is not None:
        copy.fresh = 0.0


def damage(cache: Cache, key: Hashable, change: Callable[[bytes], bytes]) -> None:
    """Change the frozen bytes of an entry."""
    frozen = cache._store.entries[key].frozen
    assert frozen is not None
    frozen.data = change(frozen.data)


def parts(cache: Cache) -> tuple[Any, ...]:
    """The objects that hold values: of entries, and of values that left."""
    return cache._store, cache._disposer


# ---- flights and the lock ----


def flight_count(cache: Cache) -> int:
    """The number of loads and thaws under way."""
    return len(cache._flights)


def waiting_threads(_cache: Cache) -> int:
    """The number of threads that wait for a flight, of any cache."""
    return len(WAITS)


def register_flight(cache: Cache, key: Hashable, flight: Flight) -> None:
    """Register a flight as its leader does."""
    cache._flights.register(key, flight)


def holds_lock(cache: Cache) -> bool:
    """Whether this thread is inside of the critical section."""
    return cache._section.entered()


def run_locked(cache: Cache, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run an action in the critical section."""
    return cache._section.run(action, *args, **kwargs)


def defer(cache: Cache, action: Callable[[], object]) -> None:
    """Make a change, or queue it within another one of this thread."""
    cache._section.run_or_defer(action)


def is_torn(cache: Cache) -> bool:
    """Whether an interrupted change is still to be repaired."""
    return cache._section._torn


def tear(cache: Cache) -> None:
    """Mark the state as an interrupted change leaves it."""
    cache._section._torn = True


# ---- values that left, counts, watchers ----


def waiting(cache: Cache) -> tuple[int, int]:
    """The number of values that left and are held, and the bytes of all that are not freed yet, without upkeep."""
    return cache._disposer.waiting, cache._disposer.waiting_bytes


def due_bytes(cache: Cache) -> int:
    """The bytes of values that left and have not been looked at yet."""
    return cache._disposer.due_bytes


def strongly_waiting(cache: Cache) -> Sequence[Any]:
    """The queues of values that wait by strong reference; their tickets have ``nbytes``."""
    room = cache._disposer._room
    assert room is not None
    return room._strong, room._stubborn


def internal_errors(cache: Cache) -> int:
    """The count of internal errors, without upkeep."""
    return cache._counts.internal_errors


def unlocked_hits(cache: Cache) -> int:
    """The number of lookups served by the hit path."""
    return cache._parts.unlocked_hits()


def is_watched(cache: Cache) -> bool:
    """Whether the cache has a watcher."""
    return cache._lookups.watching.watcher is not None


# ---- freezing and weighing ----


def freezer(cache: Cache) -> Freezer:
    """The freezer that thaws."""
    found = cache._lookups._thaws._freezer
    assert found is not None
    return found


def replace_freezer(cache: Cache, other: Any) -> None:
    """Have another freezer thaw; values are frozen as before."""
    cache._lookups._thaws._freezer = other


def shared(cache: Cache) -> tuple[object, ...]:
    """The objects that count in no value's weight."""
    return cache._preparer._shared


def weight_models(cache: Cache) -> tuple[LearnedSizer, LearnedSizer]:
    """The models of the weights of loaded values, and of thawed ones."""
    return cache._preparer._learned, cache._preparer._learned_of_thawed


def time_walks(cache: Cache, timer: Callable[[], float]) -> None:
    """Measure the price of walks with another timer, seconds."""
    for model in weight_models(cache):
        model._timer = timer


def run_while_weighing(cache: Cache, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run an action while this thread holds the lock of the model of loaded values."""
    return cache._preparer._learned._lock.run(action, *args, **kwargs)


def grant_weighing(cache: Cache, seconds: float) -> None:
    """Credit weighings of live values with a load of some seconds."""
    cache._preparer._reweighing.earn(seconds)


def fail_thaw(cache: Cache, key: Hashable, error: Exception) -> list[Any]:
    """Report a failed thaw to the preparer; all that it remembers of such keys."""
    cache._preparer.thaw_failed(key, error)
    return list(cache._preparer._unthawed)


# ---- time, and steps that fail ----


def time_lookups(cache: Cache, timer: Callable[[], float]) -> None:
    """Time loads and thaws with another timer, seconds."""
    cache._lookups.timer = timer


def time_upkeep(cache: Cache, timer: Callable[[], float]) -> None:
    """Measure allowances with another timer, seconds."""
    cache._upkeep.timer = timer


def time_weighing(cache: Cache, timer: Callable[[], float]) -> None:
    """Time repeated weighings with another timer, seconds."""
    cache._preparer._reweighing._timer = timer


def replace_clock(cache: Cache, source: Callable[[], float]) -> None:
    """Replace the source of the cache's clock, but not that of its hit path."""
    cache._clock.source = source


def replace_step(
    patch: pytest.MonkeyPatch, cache: Cache, step: Step, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Replace a step by ``wrap(step)``, until the patch is undone."""
    store = cache._store
    owners: dict[Step, tuple[object, str]] = {
        "prepare": (cache._preparer, "take"),
        "lead a thaw": (cache._lookups._thaws, "lead"),
        "make live": (store, "_make_live"),
        "demote": (store, "_demote"),
        "evict": (store, "_evict"),
        "add an entry": (store, "_add"),
        "enter the ledger": (store.ledger, "enter"),
        "leave the ledger": (store.ledger, "leave"),
    }
    owner, name = owners[step]
    patch.setattr(owner, name, wrap(getattr(owner, name)))
