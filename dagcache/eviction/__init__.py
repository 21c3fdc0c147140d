"""Eviction policies: which copy leaves and which is admitted, by predicted reuse per byte.

Imports only the standard library: times, bytes and costs are arguments.
"""
