"""Tests of `dagcache.reclaim`."""
