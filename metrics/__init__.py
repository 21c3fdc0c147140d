"""Prometheus exposition of the cache's statistics."""
