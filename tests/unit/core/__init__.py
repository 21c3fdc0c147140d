"""Tests of `dagcache.core`."""
