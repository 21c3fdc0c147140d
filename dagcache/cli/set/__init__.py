"""`dagcache set`: settings of running processes, until they restart."""
