"""The cache itself: lookups, loads, entries, the byte ledger, expiry and disposal.

Imports the rooms below it: `eviction`, `freezing`, `reclaim`, `sizing`, `concurrency`, and the modules on top level.
"""
