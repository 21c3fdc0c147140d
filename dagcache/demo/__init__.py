"""A throw-away Airflow that demonstrates the cache: generated DAGs, waiting runs, and sweeps over all versions.

May import all rooms but `dagcache.cli`. Only the command line imports it.
"""
