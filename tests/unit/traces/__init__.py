"""Tests of `dagcache.traces`."""
