"""Advice on limits, computed from Airflow's metadata database. Does not import Airflow.

Imports `dagcache.database`, modules of `dagcache.airflow` that need no Airflow, `dagcache.traces` and lower levels.
"""
