"""Tests of `dagcache.cli`."""
