"""Metrics for Prometheus: their definitions, the collector, the endpoint, its announcement, and the reading of scrapes.

May import the core, the levels below it, and ``prometheus_client``.
"""
