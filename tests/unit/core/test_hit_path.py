"""The hit path by itself."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from dagcache import DagCache, forks
from dagcache.core import hit_path
from dagcache.core.entry import Candidate, Entry, LiveCopy
from tests.support import probe
from tests.support.caches import never


class Slow:
    """Lookups beyond the path, by name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get(self, key: Any, default: Any) -> Any:
        """The arguments."""
        return self.name, key, default

    def get_or_load(self, key: Any, loader: Any, timeout: float | None) -> Any:
        """The arguments, and what the loader returns."""
        return self.name, loader(key), timeout


class Path:
    """A hit path over one table; its other calls are recorded."""

    def __init__(self) -> None:
        self.live: dict[Any, LiveCopy] = {}
        self.seconds = 0.0
        self.used: list[LiveCopy] = []
        self.usable = True
        self.lookups: hit_path.Lookups = Slow("slowly")
        self.built, self.switch = hit_path.build(self, self.live, lambda: self.seconds, self.use)

    def use(self, copy: LiveCopy) -> bool:
        """Note a use that is not fresh."""
        self.used.append(copy)
        return self.usable

    def put(self, key: str, value: object, fresh: float) -> LiveCopy:
        """A live copy, fresh until then."""
        entry = Entry(Candidate(key=key, value=value, live_bytes=1), 0.0)
        copy = self.live[key] = LiveCopy(entry, value, 1, 1.0, None)
        copy.fresh = fresh
        return copy


@pytest.fixture
def path() -> Path:
    """A path at ten seconds."""
    made = Path()
    made.seconds = 10.0
    return made


@pytest.fixture(params=["get", "get_or_load"])
def look_up(request: pytest.FixtureRequest, path: Path) -> Callable[[str], Any]:
    """Each way to look up."""
    if request.param == "get":
        return lambda key: path.built.get(key, "default")
    return lambda key: path.built.get_or_load(key, lambda key: f"loaded {key}")


def test_a_fresh_copy_is_served_and_counted_and_nothing_else(path: Path, look_up: Callable[[str], Any]) -> None:
    """Its use is not even noted."""
    path.put("a", "value", fresh=10.5)
    assert [look_up("a"), look_up("a")] == ["value", "value"]
    assert path.switch.hits() == 2
    assert not path.used


@pytest.mark.parametrize("fresh", [0.0, 10.0])
def test_a_copy_that_is_not_fresh_has_its_use_noted(path: Path, look_up: Callable[[str], Any], fresh: float) -> None:
    """Fresh means until a time, not at it."""
    copy = path.put("a", "value", fresh)
    assert look_up("a") == "value"
    assert path.used == [copy]
    assert path.switch.hits() == 1


def test_a_copy_that_may_not_be_served_is_looked_up_slowly(path: Path, look_up: Callable[[str], Any]) -> None:
    path.put("a", "value", fresh=0.0)
    path.usable = False
    assert look_up("a")[0] == "slowly"
    assert path.switch.hits() == 0


def test_a_missing_key_is_looked_up_slowly(path: Path) -> None:
    assert path.built.get("a") == ("slowly", "a", None)
    assert path.built.get("a", 7) == ("slowly", "a", 7)
    assert path.built.get_or_load("a", str.upper) == ("slowly", "A", None)
    assert path.built.get_or_load("a", str.upper, timeout=3) == ("slowly", "A", 3)
    assert path.switch.hits() == 0


def test_an_error_on_the_slow_way_has_no_context_of_this_path(path: Path) -> None:
    """Looking further happens after the table's KeyError has been dealt with."""

    def failing(_key: str) -> None:
        raise LookupError

    with pytest.raises(LookupError) as caught:
        path.built.get_or_load("a", failing)
    assert caught.value.__context__ is None


def test_what_is_no_key_is_a_type_error(look_up: Callable[[Any], Any]) -> None:
    """As with any dictionary."""
    with pytest.raises(TypeError, match="unhashable"):
        look_up([])


def test_a_caches_fast_lookups_look_like_its_methods() -> None:
    """To `help`, to a debugger and to a documentation tool."""
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    for fast, method in ((cache.get, DagCache.get), (cache.get_or_load, DagCache.get_or_load)):
        assert fast.__doc__ == method.__doc__
        assert (fast.__name__, fast.__qualname__) == (method.__name__, method.__qualname__)
        named = list(inspect.signature(fast).parameters.items())
        assert named == list(inspect.signature(method).parameters.items())[1:]


@pytest.mark.parametrize("name", hit_path.NAMES)
def test_a_method_that_is_patched_on_the_class_is_called(name: str) -> None:
    """By caches that were there before and by those that come; afterwards the hit path is back."""
    before: DagCache[str, int] = DagCache(max_bytes=0)
    before["a"] = 1
    fast = before.get
    with mock.patch.object(DagCache, name, return_value=7):
        during: DagCache[str, int] = DagCache(max_bytes=0)
        assert [getattr(cache, name)("a", never) for cache in (before, during)] == [7, 7]
    during["a"] = 2
    assert before.get is fast
    assert [cache.get_or_load("a", never) for cache in (before, during)] == [1, 2]
    assert during.stats().hits_live == 1


def test_a_method_that_is_patched_on_a_subclass_is_called() -> None:
    """The base class keeps its hit path."""

    class Mine(DagCache[str, int]):
        pass

    mine, base = Mine(max_bytes=0), DagCache[str, int](max_bytes=0)
    with mock.patch.object(Mine, "get", return_value=7):
        assert mine.get("a") == 7
        assert base.get("a") is None
    assert mine.get("a") is None


def test_a_switch_changes_the_path_for_lookups_that_were_bound_before(
    path: Path, look_up: Callable[[str], Any]
) -> None:
    """Another table, another clock, another use, and other lookups beyond."""
    path.put("a", "value", fresh=10.5)
    get, get_or_load = path.built.get, path.built.get_or_load
    used: list[LiveCopy] = []
    other: dict[Any, LiveCopy] = {}

    def use(copy: LiveCopy) -> bool:
        used.append(copy)
        return True

    path.switch.turn(other, lambda: 99.0, use)
    path.lookups = Slow("elsewhere")
    assert get("a") == ("elsewhere", "a", None)
    assert get_or_load("a", str.upper) == ("elsewhere", "A", None)
    copy = other["b"] = path.put("b", "another value", fresh=98.0)
    assert look_up("b") == "another value"
    assert used == [copy]
    assert path.switch.hits() == 1


def test_a_switch_does_not_hold_the_path(path: Path) -> None:
    """The owner of the path holds it, and the path holds the owner."""
    reference = weakref.ref(path.built.get)
    switch = path.switch
    path.built = hit_path.build(path, path.live, lambda: 0.0, path.use)[0]
    assert reference() is None
    assert switch.hits() == 0


def test_watching_on_and_off_keeps_nothing() -> None:
    """The same two functions serve the cache for its whole life."""
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    get, get_or_load = cache.get, cache.get_or_load
    cache["a"] = 1
    events: list[Any] = []
    for _ in range(3):
        cache.watch(events.append)
        assert (cache.get, cache.get_or_load) == (get, get_or_load)
        get("a")
        cache.watch(None)
        get("a")
    assert len(events) == 3
    assert cache.stats().hits_live == 6


def test_a_lookup_that_was_bound_before_a_watch_is_reported() -> None:
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    get, get_or_load = cache.get, cache.get_or_load
    events: list[Any] = []
    cache.watch(events.append)
    get_or_load("a", len)
    assert [get("a"), get_or_load("a", never), get("b")] == [1, 1, None]
    assert [(event.key, event.tier) for event in events] == [
        ("a", "miss"),
        ("a", "live"),
        ("a", "live"),
        ("b", "absent"),
    ]


def test_a_bound_lookup_of_a_forked_child_takes_the_hit_path() -> None:
    """Of its own cache, which starts empty; its counts start at 0."""
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    get, get_or_load = cache.get, cache.get_or_load
    cache["a"] = 1
    get("a")
    forks.run_steps()
    assert get("a") is None
    assert get_or_load("a", len) == 1
    before = probe.unlocked_hits(cache)
    assert [get("a"), get_or_load("a", never)] == [1, 1]
    assert (before, probe.unlocked_hits(cache)) == (0, 2)
    assert cache.stats().lookups == 4
    cache.check_invariants()


def test_a_bound_lookup_serves_on_when_its_cache_is_gone() -> None:
    """In a forked child as well, with a lock and a table of its own."""
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    get_or_load = cache.get_or_load
    cache["a"] = 1
    del cache
    assert get_or_load("a", never) == 1
    forks.run_steps()
    assert [get_or_load("a", len), get_or_load("a", never), get_or_load("bb", len)] == [1, 1, 2]
