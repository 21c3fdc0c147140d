"""Recommended settings, each with its reasons."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from dagcache.advice.curve import Point
from dagcache.config import DEFAULT_TTL
from dagcache.sizing.limits import format_bytes

MIB = 1 << 20
_THAWING = 0.1
_MISSED = 0.001
_HEADROOM = 1.25
_LEAST = 16 * MIB
_TTLS = (DEFAULT_TTL, 21_600, 43_200, 90_000)
_SWEEPS = 10
_SHARE_OF_GAPS = 0.95
_API_LIVE = 64  # entries of the API server's own cache in Airflow 3.3


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting with its reasons."""

    setting: str
    value: str
    """The text to set."""
    nbytes: int
    """The bytes of a byte limit; 0 for a TTL."""
    reasons: tuple[str, ...]


def scheduler_limit(points: Sequence[Point], *, uncached_seconds: float, idle_bytes: int, everything: int) -> Advice:
    """The smallest budget with which no version is loaded twice, and thaws and disposals cost at most a tenth of loads.

    Args:
        points: the points of the busiest moment, by ascending budget.
        uncached_seconds: the cost of a sweep in which each run loads its DAG.
        idle_bytes: the bytes of frozen versions that are not in use.
        everything: the bytes of the busiest moment with all versions live.

    """
    enough = _THAWING * uncached_seconds
    fit = next((point for point in points if point.missed <= _MISSED and point.seconds_per_sweep <= enough), points[-1])
    needed = round((min(fit.max_bytes, everything) + idle_bytes) * _HEADROOM)
    limit = neat(max(needed, _LEAST))
    reasons = [
        f"with {format_bytes(fit.max_bytes)}, {1 - fit.missed:.1%} of the busiest moment's lookups need no load, and"
        f" a sweep takes {fit.seconds_per_sweep:.2f} s of thaws and disposals; without a cache,"
        f" {uncached_seconds:.2f} s of loads",
        f"{format_bytes(idle_bytes)} for versions that wait, frozen, for their next run" if idle_bytes else "",
        "a quarter more, as a reserve" if limit > _LEAST else "the smallest limit that is recommended",
    ]
    if everything * _HEADROOM <= limit:
        reasons.append(f"all versions of the busiest moment, {format_bytes(everything)}, stay live")
    return Advice("max_bytes", format_limit(limit), limit, tuple(filter(None, reasons)))


def worker_limit(newest_frozen: int, newest_live: Sequence[int], workers: int) -> Advice:
    """The budget of one worker of the API server. The database does not record which DAGs users look at.

    Args:
        newest_frozen: bytes of all DAGs' newest versions, frozen.
        newest_live: bytes of each of them, live.
        workers: the number of workers.

    """
    largest = sum(sorted(newest_live, reverse=True)[:_API_LIVE])
    limit = neat(max(round((newest_frozen + largest) * _HEADROOM), _LEAST))
    return Advice(
        "max_bytes",
        format_limit(limit),
        limit,
        (
            f"the newest version of each of {len(newest_live)} DAGs, frozen, is {format_bytes(newest_frozen)}",
            f"the {min(_API_LIVE, len(newest_live))} largest of them, live, are {format_bytes(largest)}",
            f"each worker has a cache of its own, and an absolute limit is not divided: {workers} x"
            f" {format_limit(limit)} = {format_limit(workers * limit)}",
        ),
    )


def idle_time(gaps: Sequence[float], sweep_seconds: float) -> Advice:
    """A TTL that keeps the versions that are in use, or soon will be.

    Args:
        gaps: seconds between two uses of a version, ascending.
        sweep_seconds: the duration of the longest sweep.

    """
    relevant = gaps[: bisect_left(gaps, float(_TTLS[-1]))]
    usual = relevant[min(len(relevant) - 1, int(_SHARE_OF_GAPS * len(relevant)))] if relevant else 0.0
    wanted = max(usual, _SWEEPS * sweep_seconds)
    ttl = next((ttl for ttl in _TTLS if ttl >= wanted), max(_TTLS[-1], round(wanted)))
    reasons = [f"the longest sweep took {sweep_seconds:.0f} s, so versions in use never expire"]
    if relevant:
        reasons.append(
            f"of the versions that were used again within {_TTLS[-1] // 3600} hours, 19 of 20 were used again within"
            f" {usual / 60:,.0f} minutes"
        )
    else:
        reasons.append("no version was used again after a pause: the default")
    return Advice("ttl", str(ttl), 0, tuple(reasons))


def candidates(frozen: int, everything: int) -> list[int]:
    """Budgets to replay, ascending: from half of the frozen bytes to more than the live bytes."""
    live = max(0, everything - frozen)
    wanted = [frozen // 2, round(1.1 * frozen), *(frozen + live * part // 100 for part in (10, 25, 50, 75, 105, 125))]
    return sorted({max(MIB // 4, round_up(each, 2)) for each in wanted})


def neat(nbytes: int) -> int:
    """The next larger of 1 ... 16, 18, 20 ... 32, 36 ... 64, 72 ... MiB."""
    step = MIB
    while nbytes > 16 * step:
        step *= 2
    return -(-nbytes // step) * step


def round_up(nbytes: int, digits: int) -> int:
    """The value rounded up to a few significant binary digits: within some per cent."""
    step = 1 << max(0, nbytes.bit_length() - digits - 3)
    return -(-nbytes // step) * step


def format_limit(nbytes: int) -> str:
    """The text of a byte limit: ``512MiB``."""
    return f"{nbytes // MIB}MiB" if nbytes < 4096 * MIB or nbytes % (1024 * MIB) else f"{nbytes // (1024 * MIB)}GiB"
