"""Advice on limits, computed from Airflow's metadata database. Does not import Airflow.

Imports `dagcache.database`, `dagcache.airflow.sharing`, `dagcache.traces` and lower levels.
"""
