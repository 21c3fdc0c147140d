"""Which DAGs fill the cache: answered over a socket that only the owner of the process can open.

Imports `dagcache.core` and what is below it.
"""
