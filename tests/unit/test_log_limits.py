"""Log lines of failures, limited in number."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from dagcache import DagCache, RemovalCause
from dagcache.log_limits import LogLimits, report
from tests.support import probe
from tests.support.caches import Weighted
from tests.support.children import fork, outcome
from tests.support.clock import ManualClock


class Lines(logging.Handler):
    """Keeps the logged lines in their written form."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        """Without tracebacks."""
        return [record.getMessage() for record in self.records]

    @property
    def tracebacks(self) -> list[str]:
        """Of the lines that have one."""
        return [logging.Formatter().formatException(record.exc_info) for record in self.records if record.exc_info]


@pytest.fixture
def lines() -> Lines:
    """The output of a test's logger."""
    return Lines()


@pytest.fixture
def logger(lines: Lines) -> Iterator[logging.Logger]:
    """One of the test's own."""
    made = logging.getLogger("dagcache.test_log_limits")
    made.propagate = False
    made.setLevel(logging.DEBUG)
    made.addHandler(lines)
    yield made
    made.removeHandler(lines)
    made.propagate = True
    made.filters.clear()


@pytest.fixture
def clock() -> ManualClock:
    """Moved by the test."""
    return ManualClock()


@pytest.fixture
def limits(logger: logging.Logger, clock: ManualClock) -> LogLimits:
    """One line a minute."""
    return LogLimits(logger, clock=clock)


def raised(error: BaseException) -> BaseException:
    """An error with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def test_the_first_occurrence_is_logged_at_once_with_its_traceback(limits: LogLimits, lines: Lines) -> None:
    """The operator sees it when it happens."""
    limits.report("sizer", "the sizer failed on %r", "a", error=raised(ValueError()))
    assert lines.messages == ["the sizer failed on 'a' (ValueError)"]
    assert "in raised" in lines.tracebacks[0]


def test_a_thousand_more_in_a_minute_are_no_line(limits: LogLimits, lines: Lines, clock: ManualClock) -> None:
    """They are counted."""
    for _ in range(1000):
        clock.advance(0.059)
        limits.report("sizer", "the sizer failed on %r", "a", error=ValueError())
    assert len(lines.records) == 1


def test_a_line_a_minute_says_how_many_there_were(limits: LogLimits, lines: Lines, clock: ManualClock) -> None:
    """And has no traceback: the first one had it."""
    for _ in range(313):
        limits.report("sizer", "the sizer failed on %r", "a", error=raised(ValueError()))
    clock.advance(60)
    limits.report("sizer", "the sizer failed on %r", "b", error=raised(ValueError()))
    assert lines.messages[1:] == ["the sizer failed on 'b' (ValueError; 312 more like this in the last 60 s)"]
    assert len(lines.tracebacks) == 1


def test_what_happens_once_an_hour_is_a_line_each_time(limits: LogLimits, lines: Lines, clock: ManualClock) -> None:
    """Without a count: there was nothing between."""
    for _ in range(3):
        limits.report("disk", "the disk is full")
        clock.advance(3600)
    assert lines.messages == ["the disk is full"] * 3


def test_causes_do_not_hide_each_other(limits: LogLimits, lines: Lines) -> None:
    """Nor do errors of different types from one place."""
    limits.report("sizer", "the sizer failed", error=ValueError())
    limits.report("sizer", "the sizer failed", error=KeyError())
    limits.report("freezer", "the freezer failed", error=KeyError())
    assert len(lines.records) == 3


def test_the_text_of_an_error_is_not_shown(limits: LogLimits, lines: Lines) -> None:
    """Not in the line, the traceback or the causes: it may quote a DAG, or a password."""
    try:
        try:
            raise KeyError("the-password")
        except KeyError:
            raise ValueError("the-password") from RuntimeError("the-password")
    except ValueError as caught:
        caught.__context__ = raised(OSError("the-password"))
        limits.report("sizer", "the sizer failed", error=caught)
    (shown,) = lines.tracebacks
    assert "the-password" not in shown.replace('Error("the-password")', "")  # the source lines of this very test
    assert shown.splitlines()[-1] == "ValueError"
    assert shown.startswith("RuntimeError\n")
    assert "ValueError" in lines.messages[0]
    assert "the-password" not in lines.messages[0]


def test_what_led_to_an_error_is_told_by_its_type(limits: LogLimits, lines: Lines) -> None:
    """As in the interpreter: the cause, else the context unless it is suppressed."""
    error = ValueError()
    error.__context__ = KeyError()
    limits.report("a", "failed", error=error)
    error.__suppress_context__ = True
    limits.report("b", "failed", error=error)
    assert ["KeyError" in shown for shown in lines.tracebacks] == [True, False]


def test_a_ring_of_errors_is_told_of_to_an_end(limits: LogLimits, lines: Lines) -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    limits.report("a", "failed", error=first)
    assert len(lines.tracebacks) == 1


def test_the_line_names_the_place_that_reported(limits: LogLimits, lines: Lines) -> None:
    """As if it had called the logger itself."""
    limits.report("a", "failed")
    assert lines.records[0].funcName == "test_the_line_names_the_place_that_reported"


def test_the_table_of_causes_is_bounded(logger: logging.Logger, lines: Lines, clock: ManualClock) -> None:
    """Further causes share one line, and are counted; a minute later there is room again."""
    limits = LogLimits(logger, clock=clock, most_causes=10)
    for number in range(1000):
        limits.report(f"cause {number}", "failed")
    assert len(limits._lines) == 11
    assert len(lines.records) == 11
    clock.advance(60)
    limits.report("cause 999", "failed")
    assert lines.messages[-1] == "failed"
    assert len(limits._lines) == 1


def test_room_is_made_of_old_causes_only(logger: logging.Logger, lines: Lines, clock: ManualClock) -> None:
    """One that was logged within the minute is still counted."""
    limits = LogLimits(logger, clock=clock, most_causes=2)
    limits.report("old", "failed")
    clock.advance(59)
    limits.report("recent", "failed")
    clock.advance(1)
    limits.report("new", "failed")
    limits.report("recent", "failed")
    assert [cause for cause, _ in limits._lines] == ["recent", "new"]
    assert len(lines.records) == 3


@pytest.mark.parametrize("place", ["handler", "filter"])
def test_logging_that_raises_does_no_harm(limits: LogLimits, logger: logging.Logger, place: str) -> None:
    """A handler of the host's that fails must not fail a lookup."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space left")

    def refuse(_record: logging.LogRecord) -> bool:
        raise OSError("no space left")

    if place == "handler":
        failing = Failing()
        logger.addHandler(failing)
        limits.report("a", "failed")
        logger.removeHandler(failing)
    else:
        logger.addFilter(refuse)
        limits.report("a", "failed")


def test_a_type_that_cannot_be_imitated_does_no_harm(limits: LogLimits) -> None:
    odd = type("odd", (Exception,), {"__module__": 3})
    limits.report("a", "failed", error=odd())


def test_a_handler_may_fail_in_the_same_way(limits: LogLimits, logger: logging.Logger, lines: Lines) -> None:
    """One that uses the cache, say: it reports in the middle of a report."""

    class Nested(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            limits.report("a", "failed")

    nested = Nested()
    logger.addHandler(nested)
    limits.report("a", "failed")
    logger.removeHandler(nested)
    assert lines.messages == ["failed"]


def test_below_the_level_nothing_is_done(limits: LogLimits, logger: logging.Logger) -> None:
    """Nor remembered."""
    logger.setLevel(logging.CRITICAL)
    limits.report("a", "failed", error=ValueError())
    assert not limits._lines


def test_many_threads_write_one_line_a_minute_and_lose_no_count(
    limits: LogLimits, lines: Lines, clock: ManualClock
) -> None:
    threads, each, minutes = 8, 500, 5
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    barrier = threading.Barrier(threads)

    def run() -> None:
        for _ in range(minutes):
            if barrier.wait() == 0:
                clock.advance(60)
            barrier.wait()
            for _ in range(each):
                limits.report("a", "failed")

    workers = [threading.Thread(target=run) for _ in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    more = threads * each - 1
    assert lines.messages == ["failed", *[f"failed ({more} more like this in the last 60 s)"] * (minutes - 1)]


@pytest.mark.parametrize("minute", [0, 1], ids=["the first line", "a later line"])
def test_a_report_at_any_line_of_another_is_counted_once(logger: logging.Logger, minute: int) -> None:
    """By a signal handler, or by a thread that gets its turn there: the line being written does not count it."""
    for number in range(1, 200):
        clock, lines = ManualClock(), Lines()
        logger.handlers[:] = [lines]
        limits = LogLimits(logger, clock=clock)
        for _ in range(minute):
            limits.report("a", "failed")
            clock.advance(60)
        left = number

        def trace(frame: FrameType, event: str, _: Any, limits: LogLimits = limits) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith("log_limits.py"):
                return None
            left -= event == "line"
            if not left:
                sys.settrace(None)
                limits.report("a", "failed")
            return trace

        previous = sys.gettrace()
        sys.settrace(trace)
        limits.report("a", "failed")
        sys.settrace(previous)
        if left > 0:
            assert number > 10
            return
        clock.advance(60)
        limits.report("a", "failed")
        assert lines.messages == ["failed"] * (minute + 1) + ["failed (1 more like this in the last 60 s)"]
    raise AssertionError("it never came to an end")


def test_an_interrupt_before_any_line_costs_a_line_at_most(logger: logging.Logger) -> None:
    """The next minute is as any other."""

    class Strike(BaseException):
        pass

    def strike_at(number: int) -> Any:
        left = number

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith("log_limits.py"):
                return None
            left -= event == "line"
            if not left:
                raise Strike
            return trace

        return trace

    for number in range(1, 200):
        clock, lines = ManualClock(), Lines()
        logger.handlers[:] = [lines]
        limits = LogLimits(logger, clock=clock)
        limits.report("a", "failed")
        clock.advance(60)
        previous = sys.gettrace()
        sys.settrace(strike_at(number))
        try:
            limits.report("a", "failed", error=None)
        except Strike:
            pass
        else:
            assert number > 10
            return
        finally:
            sys.settrace(previous)
        clock.advance(60)
        before = len(lines.records)
        limits.report("a", "failed")
        limits.report("a", "failed")
        assert len(lines.records) == before + 1
    raise AssertionError("it never came to an end")


def test_a_signal_handler_may_report_at_any_moment(limits: LogLimits, lines: Lines) -> None:
    """Nothing is held that it would wait for."""
    handled = 0

    def handle(*_: object) -> None:
        nonlocal handled
        handled += 1
        limits.report("a", "failed")

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
        while handled < 200:
            limits.report("a", "failed")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert lines.messages == ["failed"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_reports_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Even if its parent was in the middle of a report."""
    report("of the parent", "failed")

    def child() -> None:
        caplog.clear()
        report("of the parent", "failed")
        report("of the parent", "failed")
        assert len(caplog.records) == 1

    assert outcome(fork(child)) == "0"


def fail(*_: object) -> Any:
    """The actions."""
    raise RuntimeError("a dag's content")


class Failing:
    """A freezer, and a cycle breaker, that fail."""

    freeze = thaw = arm = fail
    seems_free = release = fail


@pytest.mark.parametrize(
    "settings",
    [
        {"sizer": fail},
        {"freezer": Failing()},
        {"breaker": Failing()},
        {"version_of": fail},
        {"on_removal": fail},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_fails_at_each_lookup_is_one_line_with_one_traceback(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand lookups once wrote a thousand tracebacks."""
    cache: DagCache[Any, Any] = DagCache(max_bytes="10MiB", **settings)
    with caplog.at_level(logging.WARNING, "dagcache"):
        for key in range(200):
            assert cache.get_or_load(key, lambda key: Weighted(key)) == Weighted(key)
            cache.pop(key, None)
    of_ours = [record for record in caplog.records if "RuntimeError" in record.getMessage()]
    assert len(of_ours) == 1
    assert all("a dag's content" not in traceback_of(record) for record in of_ours)
    cache.check_invariants()


def traceback_of(record: logging.LogRecord) -> str:
    """The handler's text below the line, without the source lines of this file."""
    if not record.exc_info:
        return ""
    return "".join(traceback.format_exception_only(*record.exc_info[:2]))


def test_a_listener_is_told_why_something_left_though_it_failed_before() -> None:
    """Fewer lines, not fewer calls."""
    causes: list[RemovalCause] = []

    def listen(_: object, cause: RemovalCause) -> None:
        causes.append(cause)
        fail()

    cache: DagCache[Any, Any] = DagCache(max_bytes="10MiB", on_removal=listen)
    probe.time_upkeep(cache, lambda: 0.0)
    for key in range(3):
        cache[key] = key
        del cache[key]
    assert causes == [RemovalCause.EXPLICIT] * 3
    assert cache.stats().listener_failures == 3
