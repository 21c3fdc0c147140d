"""Former name of `dagcache.traces.replay`."""

from dagcache.traces.replay import Lookup, ReplayResult, replay, replay_lru

Outcome = ReplayResult

__all__ = ["Lookup", "Outcome", "replay", "replay_lru"]
