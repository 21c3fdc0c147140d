"""How often a key is used, and the places its entry holds in the tiers: what a policy ranks."""

from __future__ import annotations

from math import inf, sqrt

BURST = 3.0
"""Seconds: uses closer together than this are one use (a burst)."""
SURPRISE = 3.0
"""A gap longer than so many mean gaps is a pause, unless it follows another such gap."""
AGREEMENT = 1.5
"""Pauses agree if the longer is less than so many times the shorter."""


class History:
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
        brought: when the value was last loaded or thawed; -inf = never.

    """

    __slots__ = ("agreed", "brought", "gap", "hits", "mark", "pause", "paused", "superseded", "used")

    def __init__(self, now: float) -> None:
        self.used = now
        self.mark = now
        self.gap = 0.0
        self.paused = False
        self.pause = 0.0
        self.agreed = 0
        self.hits = 0
        self.superseded = False
        self.brought = -inf

    def touch(self, now: float) -> None:
        """Note a use at `now` (seconds). Any thread, no lock."""
        self.hits += 1
        gap = now - self.mark
        if gap <= BURST:
            return
        self.mark = now
        surprising = 0 < SURPRISE * self.gap < gap
        # One long gap says nothing about the next one; two in a row are a new rhythm.
        if self.paused or not surprising:
            self.gap = sqrt(gap * self.gap) or gap
        self.paused = surprising
        if surprising:
            agrees = self.pause < AGREEMENT * gap and gap < AGREEMENT * self.pause
            self.agreed = min(self.agreed + 1, 2) if agrees else 0
            self.pause = gap

    def inherit(self, previous: History) -> None:
        """Go on with the history of a replaced value of the same key."""
        self.mark, self.gap = previous.mark, previous.gap
        self.paused, self.pause, self.agreed = previous.paused, previous.pause, previous.agreed
        self.hits, self.brought = previous.hits, previous.brought


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

    __slots__ = ("arrived", "history", "hits_before", "index", "nbytes", "on_probation", "weight")

    def __init__(self, history: History, nbytes: int, weight: float) -> None:
        self.history = history
        self.nbytes = nbytes
        self.weight = weight
        self.arrived = -inf
        self.on_probation = False
        self.index = -1
        self.hits_before = 0

    def hits_since_arrival(self) -> int:
        """How often the entry was used since it took this node."""
        return self.history.hits - self.hits_before

    def is_proven(self) -> bool:
        """Whether it was used again later than in the burst that brought it here."""
        return self.history.gap > 0 and self.history.mark > self.arrived
