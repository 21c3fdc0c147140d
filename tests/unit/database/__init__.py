"""Tests of `dagcache.database`."""
