"""Per-DAG usage of a cache, served on a local socket that only the owner of the process can open.

Imports `dagcache.core` and lower levels.
"""
