"""Former name of `dagcache.eviction.policy`."""

from dagcache.eviction.access_history import History, Node
from dagcache.eviction.policy import Policy

Seat = Node

__all__ = ["History", "Policy", "Seat"]
