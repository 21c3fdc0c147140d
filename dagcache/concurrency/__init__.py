"""Locks, the cache's critical section, and time limits for calls that may hang.

Imports only `dagcache.errors`, `dagcache.log_limits` and the standard library.
"""
