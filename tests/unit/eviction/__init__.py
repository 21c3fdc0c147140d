"""Tests of `dagcache.eviction`."""
