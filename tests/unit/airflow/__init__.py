"""Tests of `dagcache.airflow`."""
