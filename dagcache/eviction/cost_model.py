"""The cost model: seconds to restore a value, without the noise of single measurements.

One slow load from a busy database could otherwise keep its entry in the cache for hours. If costs are wrong by more
than a factor of three, a ranking by cost is worse than one without. So each measurement is limited to a factor of the
usual time for values of its size.
"""

from __future__ import annotations

_STEP = 0.02  # weight of the latest measurement in the running means
_FACTOR = 8.0  # most that a measurement may differ from the usual time
_LEAST_SECONDS = 1e-6


class CostModel:
    """Learns seconds = a + b * bytes from running moments. Not thread-safe: kept under the cache's lock."""

    __slots__ = ("_mean_bytes", "_mean_seconds", "_samples", "_spread", "_together")

    def __init__(self) -> None:
        self._samples = 0
        self._mean_bytes = 0.0
        self._mean_seconds = 0.0
        self._spread = 0.0
        self._together = 0.0

    def usual(self, nbytes: int) -> float:
        """Return the usual seconds for a value of this size, bytes; 0 = not known yet."""
        slope = max(0.0, self._together / self._spread) if self._spread > 0 else 0.0
        seconds = self._mean_seconds + slope * (nbytes - self._mean_bytes)
        return max(seconds, self._mean_seconds / 16)

    def smooth(self, seconds: float, nbytes: int) -> float:
        """Learn from a measurement; return the seconds to use for it, above 0.

        A measurement of 0 (an assigned value) teaches nothing and counts as the usual time.
        """
        usual = self.usual(nbytes)
        if seconds <= 0:
            return max(usual, _LEAST_SECONDS)
        limited = min(max(seconds, usual / _FACTOR), usual * _FACTOR) if self._samples else seconds
        self._learn(limited, nbytes)
        return max(limited, _LEAST_SECONDS)

    def _learn(self, seconds: float, nbytes: int) -> None:
        self._samples += 1
        step = max(_STEP, 1 / self._samples)
        off_bytes = nbytes - self._mean_bytes
        off_seconds = seconds - self._mean_seconds
        self._mean_bytes += step * off_bytes
        self._mean_seconds += step * off_seconds
        self._spread = (1 - step) * (self._spread + step * off_bytes * off_bytes)
        self._together = (1 - step) * (self._together + step * off_bytes * off_seconds)
