"""Former name of `dagcache.traces.replay`."""

from dagcache.traces.replay import Lookup as Lookup
from dagcache.traces.replay import Outcome as Outcome
from dagcache.traces.replay import replay as replay
from dagcache.traces.replay import replay_lru as replay_lru
