"""Frozen copies: values as compressed bytes, and the way back to equal object graphs.

Imports only `dagcache.concurrency`, `dagcache.reclaim` and `dagcache.errors`.
"""

from __future__ import annotations

from dagcache.freezing.pickle_freezer import PickleFreezer as PickleFreezer
