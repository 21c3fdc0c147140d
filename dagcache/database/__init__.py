"""Airflow's metadata database: the connection and the loader of serialised DAGs, both read-only; and a warm store.

`dagcache.database.warm` alone writes, to tables of its own. It also imports `dagcache.warm_start` and lower levels. The
other modules import `dagcache.errors`, `dagcache.redaction` and SQLAlchemy only.
"""
