"""The cache inside Apache Airflow: entry points, hook, the bag with cached lookups, and the parts that run beside it.

Imports `dagcache.metrics`, `dagcache.inspection` and lower levels. Only this room and `dagcache.demo` import Airflow.
"""
