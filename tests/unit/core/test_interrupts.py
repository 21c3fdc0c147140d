"""An interrupt before any line of the cache's code, and a failure of any call to a user's function: nothing is lost."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import dagcache
from dagcache import DagCache, FreezeError, RemovalCause, ThawError
from dagcache.freezing.pickle_freezer import Frozen, PickleFreezer
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from tests.support import probe
from tests.support.caches import KIB, Unfreezable, Weighted, automatic_gc_off, make_cache
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("quiet")

_OURS = str(Path(dagcache.__file__).parent)
_Tracer = Callable[[FrameType, str, Any], Any]


class Strike(BaseException):
    """Thrown by the tests as an asynchronous exception is: from nowhere."""


def strike_before_line(number: int) -> _Tracer:
    """A tracer that raises when so many lines of the package have been reached."""
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        # The interpreter interrupts neither between the end of a block and letting go of its lock, nor in a ``pass``.
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not line.startswith(("with ", "pass")):
            left -= 1
            if not left:
                raise Strike
        return trace

    return trace


def use_everything(cache: DagCache[Any, Any], clock: ManualClock) -> None:
    """Each way in and out of the cache, at least once."""
    for key in range(4):
        clock.advance(5)
        cache.get_or_load(key, lambda key: (Unfreezable if key == 3 else Weighted)(key))
    clock.advance(5)
    for key in range(3):
        cache.get_or_load(key, lambda key: Weighted(key))
    cache[1] = Weighted("assigned")
    cache.get_or_load("none", lambda _: None)
    cache.get("absent")
    cache.pop(2, None)
    cache.resize(150 * KIB)
    cache.resize(350 * KIB)
    clock.advance(990)
    cache.get_or_load(1, lambda key: Weighted(key))
    clock.advance(100)
    len(cache)
    cache.stats()
    cache.clear()
    cache[5] = Weighted(5)


def make_small(**settings: Any) -> tuple[DagCache[Any, Any], ManualClock]:
    """Room for three values, a TTL, versions."""
    return make_cache(max_bytes=350 * KIB, ttl=1000, version_of=lambda key: ("family", key), **settings)


def check_usable(cache: DagCache[Any, Any], clock: ManualClock) -> None:
    """Every total is right after the repair by the next calls, and every key can be loaded."""
    for _ in range(3):
        cache.stats()
    cache.check_invariants()
    use_everything(cache, clock)
    cache.check_invariants()
    assert probe.flight_count(cache) == 0
    assert probe.waiting_threads(cache) == 0


def test_no_loop_stands_in_a_try_block() -> None:
    """CPython 3.13 leaves a loop's way back out of the block: an interrupt there would skip the tidying up."""
    package = Path(_OURS)
    paths = [path for folder in (package, *package.iterdir()) for path in folder.glob("*.py")]
    assert len(paths) > 70
    for path in paths:
        blocks = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Try)]
        inside = [node for block in blocks for statement in block.body for node in ast.walk(statement)]
        assert not [f"{path.name}:{node.lineno}" for node in inside if isinstance(node, (ast.For, ast.While))]


def interrupt_before_every(step: int, **settings: Any) -> int:
    """Strike before the first line and every `step`-th after it, until a run is whole; how many lines that were."""
    # A collection would run the callbacks of other tests' objects in here, and the strike would end in one of those.
    with automatic_gc_off():
        return _interrupt_before_every(step, settings)


def _interrupt_before_every(step: int, settings: dict[str, Any]) -> int:
    number = 1
    while True:
        cache, clock = make_small(**settings)
        previous = sys.gettrace()
        sys.settrace(strike_before_line(number))
        try:
            use_everything(cache, clock)
        except Strike:
            pass
        else:
            return number
        finally:
            sys.settrace(previous)
        assert not probe.holds_lock(cache)
        check_usable(cache, clock)
        number += step


def test_an_interrupt_before_any_of_many_lines_leaves_the_cache_whole() -> None:
    """Wherever it strikes, no lock and no flight is left behind, and totals are right."""
    assert interrupt_before_every(29, breaker=None) > 1000


def test_an_interrupt_while_values_are_taken_apart_leaves_the_ledger_right() -> None:
    """The collector gets the values in hand, and none of their bytes stay in the ledger."""
    assert interrupt_before_every(83) > 3000


@pytest.mark.soak
def test_an_interrupt_before_any_line_leaves_the_cache_whole() -> None:
    """The same for every single line."""
    assert interrupt_before_every(1, breaker=None) > 1000
    assert interrupt_before_every(1) > 3000


class TroubleError(Exception):
    """The exception of injected failures."""


class Given:
    """All that a cache is given, counting its calls; the n-th call of one of them fails."""

    def __init__(self, what: str, number: int, error: type[BaseException]) -> None:
        self._what, self._left, self._error = what, number, error
        self._whole = PickleFreezer()
        self._breaker = GenericBreaker()
        self.armed = True
        self.told: set[Any] = set()

    def _called(self, what: str) -> None:
        if what == self._what and self.armed:
            self._left -= 1
            if not self._left:
                raise self._error

    @property
    def struck(self) -> bool:
        """Whether the call that was to fail was made."""
        return self._left <= 0

    def load(self, key: Any) -> Weighted | None:
        """A loader; some keys have no value, some no frozen form."""
        self._called("loader")
        return None if key == "none" else (Unfreezable if key == 3 else Weighted)(key)

    def read(self, clock: ManualClock) -> float:
        """A clock."""
        self._called("clock")
        return clock()

    def size(self, value: Weighted) -> int:
        """A sizer."""
        self._called("sizer")
        return value.nbytes

    def freeze(self, value: object) -> Frozen:
        """Half a freezer."""
        self._called("freeze")
        return self._whole.freeze(value)

    def thaw(self, data: bytes) -> object:
        """The last third."""
        self._called("thaw")
        return self._whole.thaw(data)

    def removed(self, info: Any, _: RemovalCause) -> None:
        """A listener."""
        self.told.add(info.key)
        self._called("listener")

    def version_of(self, key: Any) -> tuple[str, int] | None:
        """Version hints."""
        self._called("version_of")
        return None if isinstance(key, str) else ("family", key)

    def release(self, value_cell: list[object]) -> Outcome:
        """A breaker."""
        self._called("release")
        return self._breaker.release(value_cell)


def operations(cache: DagCache[Any, Any], given: Given) -> Iterator[tuple[bool, Callable[[], Any]]]:
    """Calls to a cache, and which of them are lookups."""
    for key in (0, 1, 2, 3, 0, 1, 2, "none"):
        yield True, functools.partial(cache.get_or_load, key, given.load)
    yield False, lambda: cache.__setitem__(1, Weighted("assigned"))
    yield True, functools.partial(cache.get, 0)
    yield True, functools.partial(cache.get, 1)
    yield False, functools.partial(cache.resize, 150 * KIB)
    yield True, functools.partial(cache.get_or_load, 2, given.load)
    yield False, functools.partial(cache.invalidate, 2)
    yield True, functools.partial(cache.get_or_load, 2, given.load)
    yield False, cache.stats
    yield False, cache.clear


WHAT = ["loader", "sizer", "freeze", "thaw", "clock", "listener", "version_of", "release"]


@pytest.mark.parametrize("error", [TroubleError, FreezeError, ThawError, MemoryError, RecursionError, Strike])
@pytest.mark.parametrize("what", WHAT)
def test_whichever_call_fails_nothing_is_lost(what: str, error: type[BaseException]) -> None:
    """The first, the second, ... call of everything that a cache is given, until none is left to fail.

    An entry leaves only if the listener hears of it, each lookup that ends counts as one, and all goes on.
    """
    number = 1 if what == "clock" else 0  # the constructor needs a first reading of the clock
    struck = True
    while struck:
        number += 1
        given, clock = Given(what, number, error), ManualClock()
        cache: DagCache[Any, Any] = DagCache(
            max_bytes=350 * KIB,
            ttl=1000,
            clock=functools.partial(given.read, clock),
            sizer=given.size,
            freezer=given,
            on_removal=given.removed,
            version_of=given.version_of,
            breaker=given,
        )
        probe.time_upkeep(cache, lambda: 0.0)  # on a busy machine, a removal is reported by a later call
        run_operations(cache, given, clock, error)
        struck = given.struck
        assert probe.flight_count(cache) == 0
    assert number > 2


def run_operations(cache: DagCache[Any, Any], given: Given, clock: ManualClock, error: type[BaseException]) -> None:
    """Do everything, come what may, and account for each entry and each lookup."""
    ended = 0
    for is_lookup, operation in operations(cache, given):
        clock.advance(5)
        before = set(probe.entries(cache))
        given.told.clear()
        struck = given.struck
        try:
            operation()
        except error:
            assert given.struck
            assert not struck, "it failed again"
            ended += is_lookup and given._what == "loader" and issubclass(error, Exception)
            if is_lookup and error is Strike:  # after the count, while a victim was taken apart
                ended += cache.stats().lookups == ended + 1
        else:
            ended += is_lookup
        given.armed = False
        cache.check_invariants()
        assert before - set(probe.entries(cache)) <= given.told
        assert cache.stats().lookups == ended
        given.armed = True
