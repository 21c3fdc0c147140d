"""Tests of `dagcache.freezing`."""
