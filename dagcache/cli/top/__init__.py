"""`dagcache top`: a live view of the caches of running processes."""
