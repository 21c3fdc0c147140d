"""The scheduler's working set over time, and the lookups that it made.

A scheduler examines up to 20 running runs per loop, in the order of their last examination, and looks up the version of
each. From its start to its end a run is therefore examined again and again, in sweeps over all running runs.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from dagcache.advice.history import History, Run, newest_index
from dagcache.traces.scheduler_loop import PASSES, RUNS_PER_LOOP


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a version by a run between two moments."""

    version_id: UUID
    dag_id: str
    start: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """The size of the working set at a moment."""

    at: float
    runs: int
    versions: int
    full_bytes: int
    """The bytes with both copies of each version, overhead included."""


def uses(history: History) -> list[Use]:
    """The uses of all runs. A run that follows the newest version may use several in turn."""
    found: list[Use] = []
    for run in history.runs:
        if run.version_id is not None:
            found.append(Use(run.version_id, run.dag_id, run.start, run.end))
        else:
            found += _following(run, history)
    return found


def _following(run: Run, history: History) -> Iterator[Use]:
    versions = history.versions[run.dag_id]
    end = history.as_of if run.end is None else run.end
    first = newest_index(versions, run.start)
    last = max(first, newest_index(versions, end))
    for index in range(first, last + 1):
        begins = run.start if index == first else versions[index].created
        yield Use(versions[index].id, run.dag_id, begins, run.end if index == last else versions[index + 1].created)


def active(found: Iterable[Use], at: float) -> list[Use]:
    """The uses at a moment, by start."""
    return sorted(
        (use for use in found if use.start <= at and (use.end is None or use.end > at)), key=lambda use: use.start
    )


def moments(found: list[Use], full_bytes: dict[UUID, int], since: float, as_of: float) -> list[tuple[Moment, float]]:
    """The size of the working set between two changes, each with its duration in seconds."""
    within = [use for use in found if use.end is None or use.end > since]
    changes = sorted(
        [(max(use.start, since), 1, use.version_id) for use in within]
        + [(use.end, -1, use.version_id) for use in within if use.end is not None],
        key=lambda change: (change[0], change[1]),
    )
    holders: Counter[UUID] = Counter()
    runs = versions = nbytes = 0
    steps: list[tuple[Moment, float]] = []
    for index, (at, change, version_id) in enumerate(changes):
        runs += change
        before = holders[version_id]
        holders[version_id] = before + change
        if (before > 0) != (before + change > 0):
            versions += change
            nbytes += change * full_bytes.get(version_id, 0)
        until = changes[index + 1][0] if index + 1 < len(changes) else as_of
        if until > at or index + 1 == len(changes):
            steps.append((Moment(at, runs, versions, nbytes), max(0.0, until - at)))
    return steps


def sweep(found: list[Use], at: float, laps: int, loop_seconds: float) -> Iterator[tuple[float, Use, int]]:
    """The lookups of a scheduler from a moment on, for a number of sweeps: time, use, and the number of the loop.

    Runs that start meanwhile are looked up from their start; runs that end are not looked up again. A loop looks its
    runs up `PASSES` times, each time all of them.
    """
    queue = deque(active(found, at))
    coming = [(use.start, number, use) for number, use in enumerate(found) if use.start > at]
    heapq.heapify(coming)
    left = laps * max(len(queue), 1)
    now, loop = at, 0
    while left > 0 and (queue or coming):
        if not queue:  # no run is active: continue at the next start
            now = max(now, coming[0][0])
        begun: list[Use] = []
        while coming and coming[0][0] <= now:
            begun.append(heapq.heappop(coming)[2])
        examined = [queue.popleft() for _ in range(min(RUNS_PER_LOOP, len(queue)))]
        used = [*begun, *(use for use in examined if use.end is None or use.end > now)]
        for passed in range(PASSES):
            yield from ((now + passed * loop_seconds / PASSES, use, loop) for use in used)
        queue += used
        left -= len(used)
        now += loop_seconds
        loop += 1


def reuse_gaps(found: list[Use]) -> list[float]:
    """The idle times of versions between two uses, in seconds, ascending."""
    ends: dict[UUID, float] = {}
    gaps = []
    for use in sorted(found, key=lambda each: each.start):
        last = ends.get(use.version_id)
        if last is not None and use.start > last:
            gaps.append(use.start - last)
        ends[use.version_id] = max(last or 0.0, float("inf") if use.end is None else use.end)
    return sorted(gaps)
