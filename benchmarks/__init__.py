"""Measurements of dagcache, each beside its peers."""
