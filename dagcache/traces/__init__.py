"""Access traces: recording of lookups, and replay against other budgets.

Imports `dagcache.core` and lower levels.
"""
