"""The cache inside Apache Airflow: entry points, hook, the bag with cached lookups, and what runs beside the cache.

Imports `dagcache.metrics`, `dagcache.inspection` and lower levels. Only this room and `dagcache.demo` import Airflow.
"""
