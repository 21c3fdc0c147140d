"""Tests of `dagcache.concurrency`."""
