"""Sizes: byte limits, learned estimates, exact walks, process memory, audits.

Imports only `dagcache.concurrency` and `dagcache.errors`.
"""
