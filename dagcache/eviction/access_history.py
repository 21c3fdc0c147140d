"""The access history of a key: how often and in which rhythm it is used."""

from __future__ import annotations

from math import inf, sqrt

BURST = 3.0
"""Seconds. Uses within this time of the start of a burst count as one use."""
SURPRISE = 3.0
"""Mean gaps. A longer gap is a pause, unless it follows another such gap."""
AGREEMENT = 1.5
"""Two pauses match if the longer one is less than this many times the shorter one."""


class AccessHistory:
    """The access history of one key, shared by the nodes of its entry in all tiers.

    Every thread that uses the entry writes to it without a lock. A lost update costs one count or one step of a running
    mean.

    Attributes:
        used: time of the last use, seconds. The owner keeps it, because a policy clock may run at another pace.
        burst_start: time at which the last burst of uses began, seconds.
        gap: geometric running mean of the seconds between bursts, without pauses; 0.0 = not known yet.
        paused: whether the last gap was a pause.
        pause: length of the last pause, seconds; 0.0 = none yet.
        matching_pauses: number of consecutive pauses that match the pause before them, 0 - 2.
        hits: uses since the history began, approximately.
        superseded: whether a newer version of the same family is known.
        last_filled: time at which the value was last loaded or thawed, seconds; -inf = never.

    """

    __slots__ = (
        "burst_start",
        "gap",
        "hits",
        "last_filled",
        "matching_pauses",
        "pause",
        "paused",
        "superseded",
        "used",
    )

    def __init__(self, now: float) -> None:
        self.used = now
        self.burst_start = now
        self.gap = 0.0
        self.paused = False
        self.pause = 0.0
        self.matching_pauses = 0
        self.hits = 0
        self.superseded = False
        self.last_filled = -inf

    def touch(self, now: float) -> None:
        """Record a use at `now` (seconds). Any thread, no lock."""
        self.hits += 1
        gap = now - self.burst_start
        if gap <= BURST:
            return
        self.burst_start = now
        surprising = 0 < SURPRISE * self.gap < gap
        # One long gap does not predict the next one. Two in a row are a new rhythm.
        if self.paused or not surprising:
            self.gap = sqrt(gap * self.gap) or gap
        self.paused = surprising
        if surprising:
            matches = self.pause < AGREEMENT * gap and gap < AGREEMENT * self.pause
            self.matching_pauses = min(self.matching_pauses + 1, 2) if matches else 0
            self.pause = gap

    def inherit(self, previous: AccessHistory) -> None:
        """Continue the history of a replaced value of the same key."""
        self.burst_start, self.gap = previous.burst_start, previous.gap
        self.paused, self.pause = previous.paused, previous.pause
        self.matching_pauses = previous.matching_pauses
        self.hits, self.last_filled = previous.hits, previous.last_filled
