"""Warm start: frozen copies that outlive the process.

Imports `dagcache.errors`, `dagcache.log_limits` and lower levels.
"""
