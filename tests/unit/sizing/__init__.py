"""Tests of `dagcache.sizing`."""
