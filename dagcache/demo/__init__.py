"""A throw-away Airflow to see the cache at work: generated DAGs, runs that wait, and a sweep over all versions.

May import everything but `dagcache.cli`. No other room but the command line imports it.
"""
