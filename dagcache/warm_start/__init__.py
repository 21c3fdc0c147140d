"""Warm start: frozen copies that outlive the process.

Imported only where the setting ``warm_start`` is on, and by commands. Imports `dagcache.stats` and lower levels.
"""
