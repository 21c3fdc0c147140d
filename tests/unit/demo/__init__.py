"""Tests of `dagcache.demo`."""
