"""Faults of a user's functions, and of the moment: each costs as little as possible."""

from __future__ import annotations

import gc
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dagcache import DagCache, Loaded, RemovalCause, ThawError
from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD, Candidate, Entry, FrozenCopy
from dagcache.core.expiry import Deadlines
from dagcache.core.preparation import Preparer
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.sizing.estimate import LearnedSizer
from dagcache.sizing.walk import Weight
from tests.stress.test_threads import in_threads, until
from tests.support import probe
from tests.support.caches import KIB, Removals, Weighted, automatic_gc_off, fill, make_cache, never
from tests.support.patience import PATIENCE
from tests.unit.core.test_reentry import meddle_in


def in_time(work: Callable[[], object]) -> None:
    """Do something in a thread that may hang."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it hangs"


# ---- loads ----


class Part:
    """Something that a frame holds."""


@pytest.mark.parametrize("followers", [0, 3])
def test_an_error_of_a_loader_leaves_no_frames_behind(followers: int) -> None:
    """Once the error is dropped, its traceback's objects are freed without a collection."""
    cache, _ = make_cache()
    parts: list[weakref.ref[Part]] = []

    def failing(_key: object) -> None:
        part = Part()
        parts.append(weakref.ref(part))
        until(lambda: probe.waiting_threads(cache) == followers - len(parts) + 1)
        raise LookupError

    def work(_: int) -> None:
        with pytest.raises(LookupError):
            cache.get_or_load("a", failing)

    with automatic_gc_off():
        in_threads(followers + 1, work)
        assert [part() for part in parts] == [None] * (followers + 1)


def test_what_a_loader_says_of_the_source_may_be_nonsense(caplog: pytest.LogCaptureFixture) -> None:
    """It counts as unknown; it must not spoil the totals."""
    cache, _ = make_cache()
    for key, nonsense in enumerate([None, "12", -1, math.nan, math.inf, 10**400, [7]]):
        loaded = Loaded(Weighted(key), serialized_bytes=nonsense, record_bytes=nonsense)  # type: ignore[arg-type]
        assert cache.get_or_load(key, lambda _, loaded=loaded: loaded) == Weighted(key)  # type: ignore[misc]
    cache.check_invariants()
    assert len(cache) == 7
    assert cache.stats().serialized_bytes == 0
    assert cache.stats().overhead_bytes == 7 * (ENTRY_OVERHEAD + LIVE_OVERHEAD)
    assert "are unusable" in caplog.text


def test_an_absurd_weight_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """One that arithmetic could not hold counts as none."""
    cache, _ = make_cache(sizer=lambda _: 10**300)
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")
    assert "a" not in cache
    assert "sizer failed" in caplog.text


def test_a_loaded_value_is_served_even_if_keeping_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when memory runs out in the middle of an insertion: the lookup counts, the totals are right."""
    cache, _ = make_cache(max_bytes=300 * KIB)
    fill(cache, range(4))
    frozen = next(info.key for info in cache.entries() if info.tier == "frozen")
    with monkeypatch.context() as patch:
        probe.replace_step(patch, cache, "make live", lambda _: _out_of_memory)
        assert cache.get_or_load("new", lambda key: Weighted(key)) == Weighted("new")
        assert cache.get_or_load(frozen, never) == Weighted(frozen)
    cache.check_invariants()
    assert "could not be kept" in caplog.text
    stats = cache.stats()
    assert (stats.internal_errors, stats.loads, stats.hits_frozen) == (2, 5, 1)
    assert probe.flight_count(cache) == 0


def _out_of_memory(*_: object, **__: object) -> Any:
    raise MemoryError


def test_running_out_of_memory_while_thawing_costs_no_entry() -> None:
    """The bytes are as good as before: the next lookup thaws them."""

    class Starving(PickleFreezer):
        starving = True

        def thaw(self, data: bytes) -> object:
            if self.starving:
                raise MemoryError
            return super().thaw(data)

    freezer = Starving()
    cache, _ = make_cache(max_bytes=300 * KIB, freezer=freezer)
    fill(cache, range(4))
    frozen = next(info.key for info in cache.entries() if info.tier == "frozen")
    with pytest.raises(MemoryError):
        cache.get_or_load(frozen, never)
    freezer.starving = False
    assert cache.get_or_load(frozen, never) == Weighted(frozen)
    assert cache.stats().thaw_failures == 0


def test_a_loader_that_fails_inside_a_change_is_counted() -> None:
    """It is a load failure, as anywhere else."""
    cache, _ = make_cache()

    def failing(_key: object) -> None:
        raise LookupError

    def callback() -> None:
        with pytest.raises(LookupError):
            cache.get_or_load("new", failing)

    meddle_in(cache, callback)
    stats = cache.stats()
    assert stats.load_failures == 1
    assert stats.loads + stats.load_failures + stats.joins + stats.absent == stats.misses


# ---- keys and the mapping ----


@pytest.mark.parametrize("how", ["set", "delete", "invalidate", "get", "load", "contains", "pop", "setdefault"])
def test_what_cannot_be_hashed_is_refused_before_anything_is_touched(how: str) -> None:
    """A TypeError, and nothing that would have to be repaired."""
    cache, _ = make_cache()
    fill(cache, range(3))
    key: Any = []
    doors: dict[str, Callable[[], object]] = {
        "set": lambda: cache.__setitem__(key, Weighted("a")),
        "delete": lambda: cache.__delitem__(key),
        "invalidate": lambda: cache.invalidate(key),
        "get": lambda: cache.get(key),
        "load": lambda: cache.get_or_load(key, never),
        "contains": lambda: key in cache,
        "pop": lambda: cache.pop(key, None),
        "setdefault": lambda: cache.setdefault(key, Weighted("a")),
    }
    with pytest.raises(TypeError, match="unhashable"):
        doors[how]()
    assert not probe.is_torn(cache)


class Wrapped(DagCache[Any, Any]):
    """A subclass with a lookup of its own, which takes the hit path out of the way."""

    def get(self, key: Any, default: Any = None) -> Any:
        """As before."""
        return super().get(key, default)


LOOK_UPS = [Wrapped.get, Wrapped.__getitem__, lambda cache, key: cache.get_or_load(key, never)]


@pytest.mark.parametrize("look_up", LOOK_UPS, ids=["get", "[]", "get_or_load"])
def test_a_subclass_refuses_what_cannot_be_hashed_as_early(look_up: Callable[[Wrapped, Any], object]) -> None:
    """Not in the middle of a change, after which all totals would be recomputed."""
    cache = Wrapped()
    with pytest.raises(TypeError, match="unhashable"):
        look_up(cache, [])
    assert not probe.is_torn(cache)


def test_views_skip_what_leaves_while_they_are_read() -> None:
    """Looking one entry up may cost another its place, and other threads remove what they like."""
    cache, _ = make_cache()
    fill(cache, range(4))
    values = iter(cache.values())
    items = iter(cache.items())
    assert next(values) == Weighted(0)
    assert next(items) == (0, Weighted(0))
    del cache[1]
    assert list(values) == [Weighted(2), Weighted(3)]
    assert list(items) == [(2, Weighted(2)), (3, Weighted(3))]
    cache.update(cache.items())
    assert len(cache) == len(cache.values()) == 3


def test_a_popped_value_is_the_one_that_was_removed() -> None:
    """One that is assigned while the older is thawed for its taker is not thrown away."""

    class Slow(PickleFreezer):
        def thaw(self, data: bytes) -> object:
            cache[key] = Weighted("newer")
            return super().thaw(data)

    cache, _ = make_cache(max_bytes=300 * KIB, freezer=Slow())
    fill(cache, range(4))
    key = next(info.key for info in cache.entries() if info.tier == "frozen")
    assert cache.pop(key) == Weighted(key)
    assert cache.stats().hits_frozen == 1
    assert key in cache
    cache.check_invariants()


@pytest.mark.parametrize("error", [ThawError, LookupError])
def test_popping_what_does_not_thaw_finds_nothing(error: type[Exception]) -> None:
    """As any lookup without a loader: an absent miss, and the damaged entry is gone."""

    class Broken(PickleFreezer):
        def thaw(self, data: bytes) -> object:
            raise error

    cache, _ = make_cache(max_bytes=300 * KIB, freezer=Broken())
    fill(cache, range(4))
    key = next(info.key for info in cache.entries() if info.tier == "frozen")
    assert cache.pop(key, 7) == 7
    assert key not in cache
    stats = cache.stats()
    assert (stats.thaw_failures, stats.absent, stats.hits_frozen) == (1, 1, 0)


def test_popping_items_in_threads_gives_each_to_one() -> None:
    """No KeyError while there are any."""
    cache, _ = make_cache()
    fill(cache, range(400), nbytes=KIB)
    results = in_threads(8, lambda _: [cache.popitem() for _ in range(50)])
    assert sorted(key for result in results for key, _ in result) == list(range(400))
    with pytest.raises(KeyError):
        cache.popitem()


# ---- time ----


def test_an_entry_in_use_survives_a_short_ttl() -> None:
    """Hits that go unnoted are much closer together than the TTL."""
    cache, clock = make_cache(ttl=0.01)
    fill(cache, ["a"])
    for _ in range(100):
        clock.advance(0.004)
        assert cache.get("a") == Weighted("a")
    clock.advance(0.0101)
    assert cache.get("a") is None


def test_what_is_due_is_expired_however_it_is_rounded() -> None:
    """Else sweeping would find the same entry due again and again."""
    used, ttl, now = 8.194141106127972, 9622.01125180818, 9630.20539291431
    assert now > used + ttl
    assert not now - used > ttl, "not the numbers that this is about"
    deadlines = Deadlines(ttl)
    entry = Entry(Candidate("a", None, 1), used)
    deadlines.begin(entry, used)
    deadlines.schedule(entry)
    assert list(deadlines.due(now, lambda _: True, 1)) == [entry]


# ---- other threads, signals, interrupts ----


def test_a_signal_handler_may_weigh_while_its_thread_is_weighing() -> None:
    """The lock of the sizer must not wait for the thread that holds it."""
    sizer = LearnedSizer(walk=lambda _: Weight(100, 1, True))
    preparer = Preparer(freezer=PickleFreezer(), sizer=None)

    def weigh() -> None:
        sizer.size(object(), (1.0,))
        preparer._freeze("a", threading.Lock())

    in_time(lambda: sizer._lock.run(preparer._lock.run, weigh))


def test_statistics_do_not_wait_for_a_value_that_is_being_weighed() -> None:
    """They hold the cache's lock, for which a signal handler in the middle of weighing may wait."""
    cache: DagCache[str, Any] = DagCache(max_bytes="1MiB")
    probe.run_while_weighing(cache, in_time, cache.stats)


def test_nothing_is_logged_under_the_lock(caplog: pytest.LogCaptureFixture) -> None:
    """A log handler has its own lock, and the holder of that may be waiting for the cache."""
    cache, _ = make_cache()
    entered: list[bool] = []

    class Handler(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            entered.append(probe.holds_lock(cache))

    def tear() -> None:
        raise LookupError

    logger, handler = logging.getLogger("dagcache"), Handler()
    logger.addHandler(handler)
    try:
        with pytest.raises(LookupError):
            probe.run_locked(cache, tear)
        cache.check_invariants()
    finally:
        logger.removeHandler(handler)
    assert entered == [False]
    assert "recomputed" in caplog.text


def test_a_repair_that_is_interrupted_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one starts from the same entries."""
    cache, _ = make_cache()
    fill(cache, range(10))
    with monkeypatch.context() as patch:
        probe.replace_step(patch, cache, "enter the ledger", lambda _: _out_of_memory)
        probe.tear(cache)
        with pytest.raises(MemoryError):
            cache.check_invariants()
        assert list(cache) == list(range(10))
    cache.check_invariants()
    assert list(cache) == list(range(10))


def test_a_repair_needs_no_clock() -> None:
    """A clock that fails is one of the things that tear a change."""
    cache, _ = make_cache()
    fill(cache, range(3))
    probe.tear(cache)
    probe.replace_clock(cache, _out_of_memory)
    cache.check_invariants()
    assert not probe.is_torn(cache)


def test_an_entry_that_leaves_while_it_is_described_is_described() -> None:
    """`entries()` takes no lock, so copies may go between two lines."""

    class Leaving(Entry):
        left: list[FrozenCopy]

        @property
        def frozen(self) -> FrozenCopy | None:
            return self.left.pop() if self.left else None

        @frozen.setter
        def frozen(self, _: object) -> None: ...

    entry = Leaving(Candidate("a", None, 1), 0.0)
    entry.left = [FrozenCopy(entry, b"four", 1.0)]
    assert entry.info(0.0).frozen_bytes == 4


def test_a_listener_that_is_interrupted_hears_of_the_others_later() -> None:
    """An interrupt ends neither the reports nor the disposal of the other values."""
    told: list[Any] = []

    def listener(info: Any, _: RemovalCause) -> None:
        told.append(info.key)
        if len(told) == 1:
            raise KeyboardInterrupt

    cache, _ = make_cache(on_removal=listener)
    fill(cache, range(5))
    entries = list(probe.entries(cache).values())
    with pytest.raises(KeyboardInterrupt):
        cache.clear()
    cache.stats()
    assert sorted(told) == list(range(5))
    assert all(entry.live is None and entry.frozen is None for entry in entries), "left to the collector"


@pytest.mark.parametrize("how", ["__delitem__", "invalidate"])
def test_a_removal_is_no_use(how: str) -> None:
    """The listener hears how long the entry had been idle and how often it was used."""
    removals = Removals()
    cache, clock = make_cache(on_removal=removals)
    fill(cache, ["a"])
    clock.advance(7)
    getattr(cache, how)("a")
    [(info, _)] = removals.told
    assert (info.idle_seconds, info.hits) == (7, 0)


# ---- memory ----


@pytest.fixture
def _collected() -> Iterator[None]:
    gc.collect()
    yield
    gc.collect()


@pytest.mark.usefixtures("_collected")
def test_a_cache_that_nobody_holds_is_collected() -> None:
    """No registry of the process keeps it or its values."""
    cache, _ = make_cache(max_bytes=300 * KIB, ttl=10)
    fill(cache, range(8))
    value = cache[7]
    watched = [weakref.ref(each) for each in (cache, value, *probe.parts(cache))]
    del cache, value
    gc.collect()
    assert [reference() for reference in watched] == [None] * 4


def test_flights_that_are_over_are_forgotten() -> None:
    """However they ended."""
    cache, clock = make_cache(max_bytes=300 * KIB, ttl=1000)

    def interrupted(_key: object) -> None:
        raise KeyboardInterrupt

    def failing(_key: object) -> None:
        raise LookupError

    for key in range(50):
        clock.advance(5)
        cache.get_or_load(key, lambda key: Weighted(key) if key % 2 else None)
        for loader in (interrupted, failing):
            with pytest.raises((KeyboardInterrupt, LookupError)):
                cache.get_or_load(("bad", key), loader)
        cache.get(key - 9)
        cache.pop(key - 3, None)
    assert probe.flight_count(cache) == 0
    assert probe.waiting_threads(cache) == 0


def test_what_no_entry_is_left_of_before_its_thaw_begins_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is removed and taken apart in between. The lookup starts over and leaves no flight behind."""
    cache, _ = make_cache(max_bytes=300 * KIB)
    fill(cache, range(4))
    frozen = next(info.key for info in cache.entries() if info.tier == "frozen")

    def late(thaw: Callable[..., Any]) -> Callable[..., Any]:
        def remove_and_thaw(key: Any, *args: Any) -> Any:
            cache.resize(1)
            return thaw(key, *args)

        return remove_and_thaw

    probe.replace_step(monkeypatch, cache, "lead a thaw", late)
    assert cache.get(frozen) is None
    assert probe.flight_count(cache) == 0


def test_running_out_of_memory_while_popping_is_told() -> None:
    """The entry is not damaged, and no default hides the error."""

    class Short(PickleFreezer):
        def thaw(self, data: bytes) -> object:
            raise MemoryError

    cache, _ = make_cache(max_bytes=300 * KIB, freezer=Short())
    fill(cache, range(4))
    key = next(info.key for info in cache.entries() if info.tier == "frozen")
    with pytest.raises(MemoryError):
        cache.pop(key, None)
    assert cache.stats().thaw_failures == 0
    cache.check_invariants()


def test_a_damaged_entry_that_was_replaced_while_it_thawed_takes_nothing_with_it() -> None:
    class Overtaken(PickleFreezer):
        def thaw(self, data: bytes) -> object:
            cache[key] = Weighted("new")
            raise ThawError

    cache, _ = make_cache(max_bytes=300 * KIB, freezer=Overtaken())
    fill(cache, range(4))
    key = next(info.key for info in cache.entries() if info.tier == "frozen")
    assert cache.get_or_load(key, never) == Weighted("new")
    assert cache.stats().thaw_failures == 1
    cache.check_invariants()
