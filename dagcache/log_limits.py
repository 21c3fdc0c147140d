"""Rate limits for the log: one line per cause and minute, however often a fault strikes.

    report("thaw", "%r could not be thawed and is loaded again", key, error=error)

The first occurrence of a cause is logged immediately, with a traceback. After that, the first occurrence in each
minute writes a line with the number of occurrences since the line before. A line names the type of an error but never
shows its text, which may hold content of a DAG.

It uses no lock: reports come from signal handlers, finalisers, forked children and interrupted threads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from dagcache.forks import after_fork_in_child

_SECONDS = 60.0
_MOST_CAUSES = 128
_MOST_CHAINED = 3
_OTHERS = ("others", "")
_CALLER = 3  # frames from the logger's call to the caller of `report`

_Cause = tuple[str, str]


class _Line:
    """A written line: its time, and the number of occurrences since then."""

    __slots__ = ("at", "more", "successor")

    def __init__(self, at: float) -> None:
        self.at = at
        self.more = 0
        self.successor: dict[None, _Line] = {}  # ``setdefault`` is atomic: one thread writes the next line


class LogLimits:
    """Writes to a logger, at most one line per cause and interval. Thread-safe, fork-safe, and safe in signal handlers.

    Counts are exact under the global lock, but for a report that is interrupted while its interval ends, and for a
    cause that makes room for another. A free-threaded interpreter may miss a few.

    Args:
        logger: the destination of the lines.
        clock: monotonic seconds.
        seconds: the interval.
        most_causes: the number of causes with a line of their own at one time; others share one line.

    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = _SECONDS,
        most_causes: int = _MOST_CAUSES,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._seconds = seconds
        self._most = most_causes
        self._lines: dict[_Cause, _Line] = {}
        self._swept = clock()

    def report(
        self,
        cause: str,
        message: str,
        *args: object,
        error: BaseException | None = None,
        level: int = logging.ERROR,
    ) -> None:
        """Write a line, or count it. Never raises an Exception, even if one of the host's log handlers does.

        Args:
            cause: the operation that failed, as one of a few constants; each type of error is a separate cause.
            message: with placeholders in the style of `logging`. It must not show content of a DAG.
            args: values for the placeholders.
            error: the error that was raised. Each line names its type; the first line has its traceback.
            level: as in `logging`.

        """
        with suppress(Exception):
            self._report(cause, message, args, error, level)

    def forget(self) -> None:
        """Forget all lines: the next occurrence of each cause is a first one."""
        self._lines = {}

    def _report(
        self, cause: str, message: str, args: tuple[object, ...], error: BaseException | None, level: int
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        kind = "" if error is None else type(error).__name__
        now = self._clock()
        last = self._turn((cause, kind), now)
        if last is None:
            return
        details = [kind] if kind else []
        if last.more:
            details.append(f"{last.more} more like this in the last {now - last.at:.0f} s")
        is_first = last.at == now
        self._logger.log(
            level,
            f"{message}%s",
            *args,
            f" ({'; '.join(details)})" if details else "",
            exc_info=_without_texts(error) if is_first and error is not None else None,
            stacklevel=_CALLER,
        )

    def _turn(self, cause: _Cause, now: float) -> _Line | None:
        """The line before the one that the caller has to write (as of now, if it is the first). None: write no line."""
        fresh = _Line(now)
        last = self._lines.get(cause)
        if last is None:
            cause = self._with_room(cause, now)
            last = self._lines.setdefault(cause, fresh)
            if last is fresh:
                return _Line(now)  # others count in `fresh` by now: for the next line, not for this one
        if now - last.at < self._seconds:
            last.more += 1
            return None
        successor = last.successor.setdefault(None, fresh)
        self._lines[cause] = successor  # by every thread: the one that writes may be interrupted here
        if successor is fresh:
            return last
        successor.more += 1
        return None

    def _with_room(self, cause: _Cause, now: float) -> _Cause:
        """The cause, or the common one of all causes beyond the maximum."""
        if len(self._lines) >= self._most and now - self._swept >= self._seconds:
            self._swept = now
            for other, line in self._lines.copy().items():
                if now - line.at >= self._seconds:
                    self._lines.pop(other, None)
        return cause if len(self._lines) < self._most else _OTHERS


def _without_texts(error: BaseException, depth: int = _MOST_CHAINED) -> BaseException:
    """A substitute for an error in a log: the name of its type and its traceback, and those of its causes."""
    kind = type(error)
    shown: BaseException = type(kind.__name__, (Exception,), {"__module__": kind.__module__})()
    shown.__traceback__ = error.__traceback__
    if depth:
        if error.__cause__ is not None:
            shown.__cause__ = _without_texts(error.__cause__, depth - 1)
        elif error.__context__ is not None and not error.__suppress_context__:
            shown.__context__ = _without_texts(error.__context__, depth - 1)
    return shown


_process = LogLimits(logging.getLogger("dagcache"))
report = _process.report
"""`LogLimits.report` with the limits of this process, to the logger ``dagcache``."""

after_fork_in_child(_process.forget)
