"""Former name of `dagcache.eviction.policy`."""

from dagcache.eviction.access_history import AccessHistory
from dagcache.eviction.node import Node
from dagcache.eviction.policy import Policy

History = AccessHistory
Seat = Node

__all__ = ["History", "Policy", "Seat"]
