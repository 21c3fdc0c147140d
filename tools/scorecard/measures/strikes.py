"""Interrupts from nowhere: raised by signals, thrown into threads; and handlers that use the cache.

``python -m tools.scorecard.measures.strikes NUMBER``: so many that raise, a tenth of them thrown into threads, and as
many handlers again that look up, assign and remove.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from dagcache import DagCache, RecursiveLoadError
from dagcache.core.waits import WAITS
from tests.support.caches import KIB, MIB, Weighted, stated_weight

_EVERY_SECONDS = 1 / 2000
_LOOKS = 3  # until bytes without a ticket are forgotten, with one look more for a ticket in another thread's hand


class Strike(BaseException):
    """Raised wherever the thread happens to be."""


def storm(number: int) -> dict[str, Any]:
    """All three kinds, over one cache; how often its totals had to be recomputed, its lock replaced."""
    cache: DagCache[Any, Any] = DagCache(max_bytes=MIB, sizer=stated_weight)
    repairs: list[str] = []
    leaks: list[str] = []
    cache._section._lock._on_leak = lambda: leaks.append("leak")

    def count(record: logging.LogRecord) -> bool:
        repairs.extend(["repair"] * ("recomputed" in record.getMessage()))
        return False

    # No handler: up to Python 3.12 an interrupt in the middle of logging leaves the handler's lock held.
    logging.getLogger("dagcache").addFilter(count)
    previous = sys.unraisablehook
    sys.unraisablehook = _quiet  # a strike within a callback of the collector is reported, not raised
    try:
        raised = by_signal(cache, number - number // 10)
        thrown = into_threads(cache, number // 10)
        handled = by_handlers(cache, number)
    finally:
        sys.unraisablehook = previous
        logging.getLogger("dagcache").removeFilter(count)
    check(cache)
    for key in range(40):
        assert cache.get_or_load(key, lambda key: Weighted(key, 60 * KIB)) is not None
    cache.check_invariants()
    return {
        "raised": raised,
        "thrown": thrown,
        "handled": handled,
        "repairs": len(repairs),
        "leaks": len(leaks),
        "internal_errors": cache.stats().internal_errors,
        "flights": len(cache._flights) + len(WAITS),
        "locked": cache._section.entered(),
    }


def by_signal(cache: DagCache[Any, Any], number: int) -> int:
    """Be interrupted by a signal that raises; the totals are checked after each fiftieth."""
    struck = 0
    fired = False

    def handler(*_: object) -> None:
        nonlocal fired
        fired = True
        raise Strike

    def until_struck(turn: int) -> None:
        while not fired:  # a strike that could only be reported ends the work here
            use(cache, turn)

    with _alarm(handler):
        for turn in range(number):
            fired = False
            try:
                signal.setitimer(signal.ITIMER_REAL, _EVERY_SECONDS)
                until_struck(turn)
            except Strike:
                struck += 1
            assert not cache._section.entered()
            if turn % 50 == 0:
                check(cache)
    return struck


def into_threads(cache: DagCache[Any, Any], number: int) -> int:
    """Throw exceptions into busy threads until they end; the totals are checked after each."""

    def work() -> None:
        with contextlib.suppress(Strike):
            turn = 0
            while True:
                turn += 1
                use(cache, turn)

    for _ in range(number):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        for _ in range(3000):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Strike))
            thread.join(0.01)
            if not thread.is_alive():
                break
        else:
            raise AssertionError("a thread does not end")
        check(cache)
    return number


def by_handlers(cache: DagCache[Any, Any], number: int) -> int:
    """Let a handler use the cache in the middle of everything. Each sets the next one off, so that they do not nest."""
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        with contextlib.suppress(RecursiveLoadError):  # the interrupted thread is loading this very key
            cache.get_or_load(handled % 30, lambda key: Weighted(key, 60 * KIB))
        cache[("handler", handled % 5)] = Weighted(handled, 60 * KIB)
        cache.pop(("handler", (handled + 2) % 5), None)
        signal.setitimer(signal.ITIMER_REAL, _EVERY_SECONDS if handled < number else 0)

    with _alarm(handler):
        signal.setitimer(signal.ITIMER_REAL, _EVERY_SECONDS)
        turn = 0
        while handled < number:
            turn += 1
            use(cache, turn)
    return handled


def check(cache: DagCache[Any, Any]) -> None:
    """Check the totals. First come the looks that find waiting values which a strike has lost, and their bytes."""
    for _ in range(_LOOKS):
        cache.stats()
    cache.check_invariants()


def use(cache: DagCache[Any, Any], turn: int) -> None:
    """A lookup; now and then an assignment, a removal, another budget."""
    cache.get_or_load(turn % 40, lambda key: Weighted(key, 60 * KIB))
    if turn % 11 == 0:
        cache[turn % 40] = Weighted(turn, 60 * KIB)
    if turn % 17 == 0:
        cache.pop(turn % 40, None)
    if turn % 29 == 0:
        cache.resize(MIB if turn % 2 else MIB // 2)


@contextlib.contextmanager
def _alarm(handler: Callable[..., object]) -> Iterator[None]:
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _quiet(unraisable: Any) -> None:
    if unraisable.exc_type is not Strike:
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    print(json.dumps(storm(int(sys.argv[1]))))  # noqa: T201 - it is a command
