"""How often a key is used, and the places its entry holds in the tiers: what a policy ranks."""

from __future__ import annotations

from math import inf, sqrt

BURST = 3.0
"""Seconds: uses closer together than this are one use (a burst)."""
SURPRISE = 3.0
"""A gap longer than so many mean gaps is a pause, unless it follows another such gap."""
AGREEMENT = 1.5
"""Pauses agree if the longer is less than so many times the shorter."""


class AccessHistory:
    """The access history of one key, shared by the entry's places in all tiers.

    Written without a lock by every thread that uses the entry: a lost update costs a count or
    one step of a running mean, nothing else.

    Attributes:
        used: time of the last use; the owner's to keep, for a policy's clock may run at another pace.
        mark: time at which the last burst of uses began.
        gap: geometric running mean of the seconds between bursts, pauses left out; 0.0 = not known yet.
        paused: whether the last gap was much longer than the mean, a pause.
        pause: seconds of the last pause; 0.0 = none yet.
        agreed: how many pauses in a row agreed with the one before, 0 - 2.
        hits: uses since the history began, approximately.
        superseded: a newer version of the same family is known.
        last_filled: when the value was last loaded or thawed; -inf = never.

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
        """Note a use at `now` (seconds). Any thread, no lock."""
        self.hits += 1
        gap = now - self.burst_start
        if gap <= BURST:
            return
        self.burst_start = now
        surprising = 0 < SURPRISE * self.gap < gap
        # One long gap says nothing about the next one; two in a row are a new rhythm.
        if self.paused or not surprising:
            self.gap = sqrt(gap * self.gap) or gap
        self.paused = surprising
        if surprising:
            agrees = self.pause < AGREEMENT * gap and gap < AGREEMENT * self.pause
            self.matching_pauses = min(self.matching_pauses + 1, 2) if agrees else 0
            self.pause = gap

    def inherit(self, previous: AccessHistory) -> None:
        """Go on with the history of a replaced value of the same key."""
        self.burst_start, self.gap = previous.burst_start, previous.gap
        self.paused, self.pause, self.matching_pauses = previous.paused, previous.pause, previous.matching_pauses
        self.hits, self.last_filled = previous.hits, previous.last_filled


class Node:
    """The place of one entry in one tier. A tier's owner subclasses it to hang its payload on.

    `nbytes` and `weight` must not change while a policy holds the node, except by the policy's `reweigh`.
    The last four attributes belong to the policy.

    Attributes:
        history: the entry's access history.
        nbytes: bytes that the node occupies.
        weight: nbytes / seconds to bring the value back: the bytes that a second of work occupies.
        arrived: time at which the node was taken.
        guest: whether it is on probation.
        index: position among the policy's residents; -1 = none.
        hits_before: the history's hits at candidate.

    """

    __slots__ = ("admitted_at", "cost_density", "history", "hits_before", "index", "nbytes", "on_probation")

    def __init__(self, history: AccessHistory, nbytes: int, cost_density: float) -> None:
        self.history = history
        self.nbytes = nbytes
        self.cost_density = cost_density
        self.admitted_at = -inf
        self.on_probation = False
        self.index = -1
        self.hits_before = 0

    def hits_since_admission(self) -> int:
        """How often the entry was used since it took this node."""
        return self.history.hits - self.hits_before

    def is_proven(self) -> bool:
        """Whether it was used again later than in the burst that last_filled it here."""
        return self.history.gap > 0 and self.history.burst_start > self.admitted_at
