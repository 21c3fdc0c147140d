"""Access traces: recording lookups, reading them back, and replaying them against other budgets.

Imports `dagcache.core` and what is below it.
"""
