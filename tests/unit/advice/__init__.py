"""Tests of `dagcache.advice`."""
