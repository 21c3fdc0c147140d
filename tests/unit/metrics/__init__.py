"""Tests of `dagcache.metrics`."""
