"""Former name of `dagcache.eviction.policy`."""

from dagcache.eviction.access_history import History as History
from dagcache.eviction.access_history import Seat as Seat
from dagcache.eviction.policy import Policy as Policy
