"""Tests of `dagcache.warm_start`."""
