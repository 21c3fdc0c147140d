"""Tests of `dagcache.inspection`."""
