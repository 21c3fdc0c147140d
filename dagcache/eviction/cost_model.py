"""What bringing a value back costs, freed of the noise of a single measurement.

One load that met a busy database would otherwise hold its entry in the cache for hours: with errors above a factor of
three, ranking by cost is worse than not knowing the cost at all. So each measurement is held within a factor of what
values of that size usually take.
"""

from __future__ import annotations

_STEP = 0.02  # weight of the latest measurement in the running means
_FACTOR = 8.0  # how far a measurement may be from the usual
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
        """What a value of this size usually takes, seconds; 0 = nothing is known yet."""
        slope = max(0.0, self._together / self._spread) if self._spread > 0 else 0.0
        seconds = self._mean_seconds + slope * (nbytes - self._mean_bytes)
        return max(seconds, self._mean_seconds / 16)

    def smooth(self, seconds: float, nbytes: int) -> float:
        """Learn from a measurement and return what to reckon with, seconds, above 0.

        A measurement of 0 (an assigned value) teaches nothing and costs the usual.
        """
        usual = self.usual(nbytes)
        if seconds <= 0:
            return max(usual, _LEAST_SECONDS)
        held = min(max(seconds, usual / _FACTOR), usual * _FACTOR) if self._samples else seconds
        self._learn(held, nbytes)
        return max(held, _LEAST_SECONDS)

    def _learn(self, seconds: float, nbytes: int) -> None:
        self._samples += 1
        step = max(_STEP, 1 / self._samples)
        off_bytes = nbytes - self._mean_bytes
        off_seconds = seconds - self._mean_seconds
        self._mean_bytes += step * off_bytes
        self._mean_seconds += step * off_seconds
        self._spread = (1 - step) * (self._spread + step * off_bytes * off_bytes)
        self._together = (1 - step) * (self._together + step * off_bytes * off_seconds)
