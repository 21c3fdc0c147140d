"""Airflow's metadata database, read-only: the connection, and the loader of serialised DAGs.

Imports only `dagcache.errors`, `dagcache.redaction` and SQLAlchemy.
"""
